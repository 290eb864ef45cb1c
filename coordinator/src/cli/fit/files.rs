//! The files that a fit leaves: the model, and its params beside it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use foldwise_shared::model::{ModelSettings, settings_of};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::value::Params;
use serde_json::json;

use super::Fitted;
use crate::cli::error::CliError;
use crate::cli::source::Source;
use crate::report::write::is_report;

/// What was written.
pub(super) struct Written {
    pub model: PathBuf,
    pub params: PathBuf,
}

const MODEL: &str = "model.safetensors";
const PARAMS: &str = "model.json";

/// Makes sure that the folder can be one, and has no model of another fit in it, before anything is trained for it.
pub(super) fn check_folder(folder: &Path, study: &str) -> Result<(), CliError> {
    let refused = |what: &str| {
        Err(CliError::usage(format!(
            "{} is there and {what}; --out names another folder for the model",
            folder.display()
        )))
    };
    if folder.exists() && !folder.is_dir() {
        return refused("no folder");
    }
    if is_report(folder) {
        return refused("a report, which is replaced as a whole");
    }
    let Ok(there) = std::fs::read(folder.join(PARAMS)) else {
        return match folder.join(MODEL).exists() {
            true => refused(&format!("has a {MODEL} in it, and no {PARAMS} that says of which fit it is")),
            false => Ok(()),
        };
    };
    let there: serde_json::Value = serde_json::from_slice(&there).unwrap_or_default();
    match there["study"].as_str() {
        Some(other) if other == study => Ok(()),
        Some(other) => refused(&format!("has the model of the fit `{other}` in it")),
        None => refused(&format!("has a {PARAMS} in it that is of no fit")),
    }
}

/// Writes the model and its params into a folder.
pub(super) fn write(source: &Source, fitted: &Fitted, folder: &Path) -> Result<Written, CliError> {
    // Another fit may have come to its end meanwhile.
    check_folder(folder, &fitted.study.name)?;
    let model = source.artifact(&fitted.study, &fitted.model.digest)?;
    std::fs::create_dir_all(folder).map_err(|error| CliError::Happened {
        message: format!("failed to make the folder {}: {error}", folder.display()),
        help: Some("--out names another one; the same command does not train again".into()),
    })?;
    let written = Written { model: folder.join(MODEL), params: folder.join(PARAMS) };
    let parent = match &fitted.study.parent {
        Some(parent) => source.study(parent).ok().and_then(|parent| StudySpec::from_json(&parent.spec).ok()),
        None => None,
    };
    let mut text = serde_json::to_string_pretty(&described(fitted, parent.as_ref())?)
        .map_err(|error| CliError::Other(error.into()))?;
    text.push('\n');
    // The params first: they say whose the folder is, should the model not come to be written.
    whole(&written.params, text.as_bytes())?;
    whole(&written.model, &model)?;
    Ok(written)
}

/// A file that is there whole or not at all.
fn whole(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    written.map_err(|error| {
        // If it cannot be removed, its name says what it is.
        let _ = std::fs::remove_file(&part);
        CliError::Happened { message: format!("failed to write {}: {error}", path.display()), help: None }
    })
}

/// What is to be known of a model.
fn described(fitted: &Fitted, parent: Option<&StudySpec>) -> Result<serde_json::Value, CliError> {
    let Fitted { study, spec, record, .. } = fitted;
    let settings = ModelSettings::resolve(spec, &record.params)
        .map_err(|message| CliError::Other(anyhow::anyhow!(message)))?;
    let mut settings = serde_json::to_value(settings).unwrap_or_default();
    settings["height"] = study.height.into();
    settings["width"] = study.width.into();
    Ok(json!({
        "study": study.name,
        "parent": study.parent,
        "value": fitted.value,
        "epoch": fitted.epoch.0,
        "params": params(fitted, parent),
        "settings": settings,
        "train": spec.train,
        "corruption": spec.corruption,
        "data": spec.data,
        "data_digest": study.data_digest,
        "model": fitted.model.digest,
    }))
}

/// What was searched and found: of the study that the fit comes from, or, without one, every setting.
fn params(fitted: &Fitted, parent: Option<&StudySpec>) -> Params {
    let Fitted { spec, record, .. } = fitted;
    let names = settings_of(spec).iter().map(|setting| setting.name);
    let searched = |name: &&str| {
        parent.is_none_or(|parent| {
            let is_found = parent.finds_learning_rate() && *name == "learning_rate";
            parent.space.0.contains_key(*name)
                || parent.fixed_setting(name) != spec.fixed_setting(name)
                || is_found
        })
    };
    let mut params: Params = names
        .filter(searched)
        .filter_map(|name| Some((name.to_owned(), spec.fixed_setting(name)?)))
        .collect();
    params.extend(record.params.clone());
    params
}

#[cfg(test)]
mod tests {
    use foldwise_shared::artifact::Artifact;
    use foldwise_shared::ids::{Epoch, TrialNumber};
    use foldwise_shared::record::StudyRecord;
    use foldwise_shared::spec::{FitOn, FitOptions, fit_of};
    use foldwise_shared::value::ParamValue;

    use super::*;
    use crate::cli::samples;

    fn fitted() -> (Fitted, StudySpec) {
        let parent = samples::spec(&[]);
        let params: Params = serde_json::from_value(json!({
            "learning_rate": 0.01, "weight_decay": 0.001, "dropout": 0.25
        }))
        .expect("params");
        let options = FitOptions {
            name: "demo-fit".into(),
            on: FitOn::Split,
            epochs: None,
            best_epoch: None,
            images: 3000,
        };
        let spec = fit_of(&parent, &params, &options).expect("a fit");
        let study = StudyRecord { name: "demo-fit".into(), parent: Some("demo".into()), ..samples::study() };
        let mut record = samples::trials().remove(0);
        record.params = Params::new();
        let model = Artifact { digest: "a".repeat(64), bytes: 3 };
        let fitted =
            Fitted { study, spec, trial: TrialNumber(0), record, value: 0.03, epoch: Epoch(7), model };
        (fitted, parent)
    }

    #[test]
    fn the_params_are_those_that_were_searched() {
        let (mut fitted, parent) = fitted();
        let found = params(&fitted, Some(&parent));
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["dropout", "learning_rate", "weight_decay"]);
        assert!(params(&fitted, None).contains_key("batch_size"), "without a search it is every setting");
        fitted.record.params.insert("learning_rate".into(), ParamValue::Float(0.5));
        let found = params(&fitted, Some(&parent));
        assert_eq!(found.get("learning_rate"), Some(&ParamValue::Float(0.5)), "what the worker found");
    }

    #[test]
    fn a_description_has_all_that_builds_the_network() {
        let (fitted, parent) = fitted();
        let described = described(&fitted, Some(&parent)).expect("a description");
        assert_eq!(described["settings"]["latent_dim"], 4);
        assert_eq!(described["settings"]["channels"], json!([8, 16, 32]));
        assert_eq!(described["settings"]["height"], 28);
        assert_eq!((&described["study"], &described["parent"]), (&json!("demo-fit"), &json!("demo")));
        assert_eq!(described["train"]["batch_size"], 256);
    }

    #[test]
    fn nothing_else_is_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let refused = |folder: &Path| check_folder(folder, "demo-fit").expect_err("not ours").to_string();
        assert!(refused(&file).contains("no folder; --out"), "{}", refused(&file));
        assert!(check_folder(folder.path(), "demo-fit").is_ok());
        assert!(check_folder(&folder.path().join("new"), "demo-fit").is_ok());

        let model = folder.path().join(MODEL);
        std::fs::write(&model, "weights").expect("written");
        assert!(refused(folder.path()).contains(MODEL), "{}", refused(folder.path()));
        let params = folder.path().join(PARAMS);
        for (content, said) in [
            (r#"{ "study": "demo-fit" }"#, None),
            (r#"{ "study": "other-fit" }"#, Some("the fit `other-fit`")),
            ("{}", Some("of no fit")),
            ("not JSON", Some("of no fit")),
        ] {
            std::fs::write(&params, content).expect("written");
            match said {
                None => assert!(check_folder(folder.path(), "demo-fit").is_ok()),
                Some(said) => assert!(refused(folder.path()).contains(said), "{}", refused(folder.path())),
            }
        }
    }
}
