//! Every IDX file that fuzzing ever found worth keeping, read as the fuzz target does.

#[path = "../../deploy/fuzz/corpus.rs"]
mod corpus;
#[path = "../../deploy/fuzz/targets/idx.rs"]
mod target;

#[test]
fn idx_files_of_the_corpus() {
    corpus::run("idx", target::check);
}
