//! Every study file that fuzzing ever found worth keeping, and those that are published, read as the fuzz target does.

#[path = "../../deploy/fuzz/corpus.rs"]
mod corpus;
#[path = "../../deploy/fuzz/targets/study_file.rs"]
mod target;

#[test]
fn study_files_of_the_corpus() {
    corpus::run("study_file", target::check);
}

#[test]
fn published_study_files() {
    for folder in ["deploy/studies", "deploy/examples", "deploy/bench"] {
        let files = corpus::files(&corpus::top().join(folder));
        let studies: Vec<_> =
            files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
        assert!(!studies.is_empty(), "{folder}");
        for study in studies {
            let text = std::fs::read_to_string(&study).expect("a study file");
            foldwise_shared::spec::parse(&text, &[])
                .unwrap_or_else(|error| panic!("{}: {error}", study.display()));
            target::check(text.as_bytes());
        }
    }
}
