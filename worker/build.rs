//! Writes into every binary of this crate where libtorch lies: `torch/lib` and the `nvidia/*/lib` beside it.
//! As a RUNPATH, so that `LD_LIBRARY_PATH` can still point elsewhere.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // From torch-sys (`links = "tch"`); absent in its doc-only build, which links nothing.
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(torch_lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else { return };
    println!("cargo:rerun-if-changed={}", torch_lib.display());
    if std::env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
    }
    for folder in std::iter::once(torch_lib.clone()).chain(nvidia_libs(&torch_lib)) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}

/// The CUDA libraries as pip lays them out: `nvidia/NAME/lib` beside `torch`; sorted, so that builds agree.
fn nvidia_libs(torch_lib: &Path) -> Vec<PathBuf> {
    let Some(site) = torch_lib.parent().and_then(Path::parent) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(site.join("nvidia")) else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join("lib")).filter(|folder| folder.is_dir()).collect();
    folders.sort();
    folders
}
