//! What a supervisor was told on its command line, as the variables that tell a worker the same.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// The flags that were given, each as its `FOLDWISE_*` variable. What was given as a variable is inherited anyway.
pub fn variables(command: &Command, matches: &ArgMatches) -> Vec<(OsString, OsString)> {
    let given = matches.ids().filter(|id| {
        // A group is named among them too; its source is that of its members.
        matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
    });
    given
        .filter_map(|id| {
            let variable = command.get_arguments().find(|arg| arg.get_id() == id)?.get_env()?;
            let value = matches.get_raw(id.as_str())?.next_back()?;
            Some((variable.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, ArgGroup};

    use super::*;

    #[test]
    fn flags_become_variables() {
        let command = Command::new("w")
            .arg(Arg::new("slots").long("slots").env("FOLDWISE_TEST_SLOTS").default_value("1"))
            .arg(Arg::new("name").long("name").env("FOLDWISE_TEST_NAME"))
            .arg(Arg::new("quiet").long("quiet").env("FOLDWISE_TEST_QUIET").action(ArgAction::SetTrue))
            .arg(Arg::new("plain").long("plain").action(ArgAction::SetTrue))
            .group(ArgGroup::new("all").args(["slots", "name", "quiet", "plain"]).multiple(true));
        let given = |words: &[&str]| {
            let matches = command.clone().get_matches_from([&["w"], words].concat());
            let mut given: Vec<(String, String)> = variables(&command, &matches)
                .into_iter()
                .map(|(name, value)| (name.into_string().expect("text"), value.into_string().expect("text")))
                .collect();
            given.sort();
            given
        };
        assert_eq!(given(&[]), []);
        let pair = |name: &str, value: &str| (format!("FOLDWISE_TEST_{name}"), value.to_owned());
        assert_eq!(
            given(&["--slots", "1", "--name=a b", "--quiet", "--plain"]),
            [pair("NAME", "a b"), pair("QUIET", "true"), pair("SLOTS", "1")]
        );
    }
}
