//! A file with params, as people write it or as a fit leaves it.

use std::path::Path;

use foldwise_shared::value::{ParamValue, Params};

use crate::cli::error::CliError;

/// Reads `name = value`, in TOML or JSON. Of a fit's `model.json` it takes what stands under `params`.
///
/// # Errors
/// A file that cannot be read, or something else than a table in it.
pub(super) fn read(file: &Path) -> Result<Params, CliError> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::usage(format!("failed to read the params {shown}: {error}")))?;
    parse(&text).map_err(|message| CliError::Usage {
        message: format!("{shown}: {message}"),
        help: Some(
            "write a param a line, such as `learning_rate = 1.2e-3`, or the same as a JSON object".into(),
        ),
    })
}

fn parse(text: &str) -> Result<Params, String> {
    // No TOML begins so.
    let table = if text.trim_start().starts_with('{') {
        serde_json::from_str::<serde_json::Value>(text).map_err(|error| format!("it is no JSON: {error}"))?
    } else {
        let table: toml::Table = toml::from_str(text).map_err(|error| format!("it is no TOML: {error}"))?;
        serde_json::to_value(table).map_err(|error| error.to_string())?
    };
    let serde_json::Value::Object(mut table) = table else {
        return Err("it is no table of params".into());
    };
    if table.contains_key("study")
        && let Some(serde_json::Value::Object(params)) = table.remove("params")
    {
        table = params;
    }
    let param = |(name, value): (String, serde_json::Value)| match ParamValue::from_json(value) {
        Some(value) => Ok((name, value)),
        None => Err(format!("{name} has no value")),
    };
    let params = table.into_iter().map(param).collect::<Result<Params, _>>()?;
    if params.is_empty() { Err("there is no param in it".into()) } else { Ok(params) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_json_and_what_a_fit_leaves_say_the_same() {
        let wanted = Params::from([
            ("latent_dim".into(), ParamValue::Int(6)),
            ("learning_rate".into(), ParamValue::Float(1.2e-3)),
            ("optimizer".into(), ParamValue::Text("adam".into())),
        ]);
        for text in [
            "latent_dim = 6\nlearning_rate = 1.2e-3 # published\noptimizer = \"adam\"\n",
            "{ \"latent_dim\": 6, \"learning_rate\": 0.0012, \"optimizer\": \"adam\" }",
            " \n{\"study\": \"s\", \"params\": {\"latent_dim\":6,\"learning_rate\":0.0012,\"optimizer\":\"adam\"}}",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_table_of_params_is_refused() {
        for (text, message) in [
            ("", "no param in it"),
            ("{}", "no param in it"),
            ("learning_rate: 3", "no TOML"),
            ("{ \"a\": 1", "no JSON"),
            ("{ \"a\": null }", "a has no value"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(message), "{error}");
        }
    }
}
