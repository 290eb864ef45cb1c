//! The commands that a person may want next, ready to be copied.

use std::ffi::OsString;
use std::path::Path;

use foldwise_shared::ids::TrialNumber;

use super::args::SourceArgs;

/// A command, and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The command.
    pub command: String,
    /// What it does.
    pub purpose: &'static str,
}

/// The flags that lead a query to where this one looked, with a blank in front; empty for the default database.
pub fn place(source: &SourceArgs) -> String {
    match &source.coordinator {
        Some(url) => {
            format!(" --coordinator {}{}", quoted(url), access(source, |name| std::env::var_os(name)))
        }
        None => database(&source.database()),
    }
}

/// The flags that let us in there, but for those that a variable gives to every command. A secret on the command line is
/// not repeated.
fn access(source: &SourceArgs, variable: impl Fn(&str) -> Option<OsString>) -> String {
    let SourceArgs { token, tls, .. } = source;
    let files = [
        ("--tls-ca", &tls.tls_ca, "FOLDWISE_TLS_CA"),
        ("--tls-cert", &tls.tls_cert, "FOLDWISE_TLS_CERT"),
        ("--tls-key", &tls.tls_key, "FOLDWISE_TLS_KEY"),
        ("--token-file", &token.token_file, "FOLDWISE_TOKEN_FILE"),
    ];
    let mut flags = String::new();
    for (flag, path, name) in files {
        if let Some(path) = path
            && variable(name).as_deref() != Some(path.as_os_str())
        {
            flags.push_str(&format!(" {flag} {}", quoted(&path.display().to_string())));
        }
    }
    if tls.insecure {
        flags.push_str(" --insecure");
    }
    flags
}

/// The flag that leads a query to a database, with a blank in front; empty for the default one.
pub fn database(path: &Path) -> String {
    let path = path.display().to_string();
    match path.as_str() {
        "foldwise.db" | "./foldwise.db" => String::new(),
        path => format!(" --db {}", quoted(path)),
    }
}

/// `foldwise best`
pub fn best(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise best {study}{place}"), purpose: "the best trial" }
}

/// `foldwise fit`
pub fn fit(place: &str, study: &str) -> Next {
    Next {
        command: format!("foldwise fit {study}{place}"),
        purpose: "train its best params, and keep the model",
    }
}

/// `foldwise report`
pub fn report(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise report {study}{place}"), purpose: "a page with pictures of it" }
}

/// `foldwise trial list`
pub fn trials(place: &str, study: &str) -> Next {
    Next {
        command: format!("foldwise trial list {study}{place} --sort value"),
        purpose: "every trial, by value",
    }
}

/// `foldwise trial show`
pub fn trial(place: &str, study: &str, number: TrialNumber) -> Next {
    Next { command: format!("foldwise trial show {study} {number}{place}"), purpose: "its folds" }
}

/// `foldwise curve`
pub fn curve(place: &str, study: &str, number: TrialNumber) -> Next {
    Next {
        command: format!("foldwise curve {study}{place} --trial {number} -o csv"),
        purpose: "its losses, epoch by epoch",
    }
}

/// `foldwise trial explain`
pub fn explain(place: &str, study: &str, number: TrialNumber) -> Next {
    Next {
        command: format!("foldwise trial explain {study} {number}{place}"),
        purpose: "why it was pruned, and whom it was compared with",
    }
}

/// `foldwise curve`, of the best of those that a trial was compared with.
pub fn rival(place: &str, study: &str, number: TrialNumber) -> Next {
    Next { purpose: "those of the best it was compared with", ..curve(place, study, number) }
}

/// `foldwise replay`
pub fn replay(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise replay {study}{place}"), purpose: "what other pruners would have done" }
}

/// `foldwise trial show`, of one that has not begun.
pub fn shown(place: &str, study: &str, number: TrialNumber) -> Next {
    Next { purpose: "where it is", ..trial(place, study, number) }
}

/// `foldwise trial ask`
pub fn ask(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise trial ask {study}{place}"), purpose: "a trial to evaluate" }
}

/// `foldwise resume`
pub fn resume(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise resume {study}{place}"), purpose: "go on with it" }
}

/// `foldwise watch`
pub fn watch(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise watch {study}{place}"), purpose: "see it go on" }
}

/// `foldwise study unpause`
pub fn unpause(place: &str, study: &str) -> Next {
    Next { command: format!("foldwise study unpause {study}{place}"), purpose: "let it go on" }
}

/// `foldwise study extend`
pub fn extend(place: &str, study: &str) -> Next {
    Next {
        command: format!("foldwise study extend {study}{place} --trials 10"),
        purpose: "go on with it all the same",
    }
}

/// `foldwise study list`
pub fn studies(place: &str) -> Next {
    Next { command: format!("foldwise study list{place}"), purpose: "what is left" }
}

/// `foldwise trial retry`
pub fn retry(place: &str, study: &str, number: TrialNumber) -> Next {
    Next {
        command: format!("foldwise trial retry {study} {number}{place}"),
        purpose: "try its params once more",
    }
}

/// `foldwise worker list`
pub fn workers(place: &str) -> Next {
    Next { command: format!("foldwise worker list{place}"), purpose: "who trains what" }
}

/// `foldwise worker undrain`
pub fn undrain(place: &str, name: &str) -> Next {
    Next {
        command: format!("foldwise worker undrain {}{place}", quoted(name)),
        purpose: "give it folds again",
    }
}

/// The tables themselves.
pub fn sqlite(path: &Path, study: &str) -> Next {
    let path = quoted(&path.display().to_string());
    let sql = format!("SELECT * FROM curve WHERE study = '{study}' LIMIT 10");
    Next { command: format!("sqlite3 -header -column {path} \"{sql}\""), purpose: "the tables themselves" }
}

/// The commands, one a line, what they do beside them.
pub fn lines(all: &[Next]) -> String {
    let width = all.iter().map(|next| next.command.len()).max().unwrap_or(0);
    let line = |next: &Next| format!("  {:width$}  # {}\n", next.command, next.purpose);
    format!("next:\n{}", all.iter().map(line).collect::<String>())
}

/// Writes the commands to standard error.
pub fn show(all: &[Next]) {
    super::say(&format!("\n{}", lines(all).trim_end()));
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{TlsArgs, TokenArgs};

    #[test]
    fn what_lets_us_in_is_repeated() {
        let tls = TlsArgs { tls_ca: Some("ca.pem".into()), insecure: true, ..TlsArgs::default() };
        let token = TokenArgs { token_file: Some("my token".into()), token: None };
        let source = SourceArgs { db: None, coordinator: Some("https://head:1".into()), token, tls };
        let all = " --tls-ca ca.pem --token-file 'my token' --insecure";
        assert_eq!(access(&source, |_| None), all);
        let variable = |name: &str| (name == "FOLDWISE_TLS_CA").then(|| "ca.pem".into());
        assert_eq!(access(&source, variable), " --token-file 'my token' --insecure");
    }

    #[test]
    fn commands_can_be_copied_into_a_shell() {
        assert_eq!(database(Path::new("./foldwise.db")), "");
        assert_eq!(database(Path::new("a/b.db")), " --db a/b.db");
        assert_eq!(database(Path::new("it's mine.db")), r" --db 'it'\''s mine.db'");
        assert_eq!(
            lines(&[best(" --db d.db", "demo"), trials(" --db d.db", "demo")]),
            "next:\n  foldwise best demo --db d.db                     # the best trial\n  \
             foldwise trial list demo --db d.db --sort value  # every trial, by value\n"
        );
    }
}
