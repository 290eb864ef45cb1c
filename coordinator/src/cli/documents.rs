//! Keeps the study files and the page about them true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use foldwise_shared::spec::{parse, schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_study_file_parses_and_says_what_it_is() {
    let folder = root().join("deploy/studies");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the study files") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(text.starts_with("# "), "{} opens without a comment", path.display());
        let spec = parse(&text, &[]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for size in spec_sizes(&text) {
            let small = parse(&text, &[format!("size={size}")]);
            small.unwrap_or_else(|error| panic!("{} --size {size}: {error}", path.display()));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        assert_eq!(spec.study.name, stem, "a file is called like its study");
        names.insert(stem);
    }
    for name in ["demo", "mnist-latent-grid", "mnist-random", "mnist-random-published", "fashion-tpe"] {
        assert!(names.contains(name), "{name}.toml is missing");
    }
}

/// The names of the sizes in a study file.
fn spec_sizes(text: &str) -> Vec<String> {
    let headers = text.lines().filter_map(|line| line.strip_prefix("[size.")?.strip_suffix(']'));
    headers.map(str::to_owned).collect()
}

#[test]
fn the_published_search_differs_in_pruning_and_early_stopping_only() {
    let read = |name: &str| {
        let text = std::fs::read_to_string(root().join("deploy/studies").join(name)).expect("a study file");
        parse(&text, &[]).expect("a study file")
    };
    let found =
        foldwise_shared::spec::differences(&read("mnist-random.toml"), &read("mnist-random-published.toml"));
    let sections: BTreeSet<&str> = found
        .iter()
        .map(|difference| difference.key.rsplit_once('.').map_or("", |(section, _)| section))
        .collect();
    assert_eq!(sections, BTreeSet::from(["pruner", "study", "train.early_stopping"]), "{found:?}");
}

#[test]
fn every_key_is_documented_once() {
    let page = std::fs::read_to_string(root().join("docs/study-file.md")).expect("the page");
    let table =
        page.split("## Every key").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the table");
    let documented: Vec<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key.to_owned()))
        .collect();
    let unique: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(unique.len(), documented.len(), "a key is documented twice");

    let schema = schema();
    let mut known = BTreeSet::new();
    collect(&schema, &schema, "", &mut known);
    // Sections have a line of their own, but no key; the space and early stopping have both.
    assert_eq!(unique, known);
}

/// The dotted keys of a schema: those that take a value, and tables that may be left out as a whole.
fn collect(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let schema = resolve(root, schema);
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let Some(properties) = schema["properties"].as_object() else {
        if !path.is_empty() && !path.ends_with("NAME") {
            keys.insert(path.to_owned());
        }
        if schema["additionalProperties"].is_object() {
            collect(root, &schema["additionalProperties"], &join("NAME"), keys);
        }
        return;
    };
    if path.contains('.') && !path.ends_with("NAME") {
        keys.insert(path.to_owned());
    }
    for (name, inner) in properties {
        collect(root, inner, &join(name), keys);
    }
}

/// Follows a reference, and takes what an optional value is when it is there.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(target) = schema["$ref"].as_str().and_then(|target| root.pointer(target.strip_prefix('#')?)) {
        return resolve(root, target);
    }
    let alternatives = ["anyOf", "allOf"].iter().find_map(|word| schema[word].as_array());
    match alternatives.and_then(|all| all.iter().find(|one| one["type"] != "null")) {
        Some(inner) => resolve(root, inner),
        None => schema,
    }
}
