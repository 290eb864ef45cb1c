//! The Python examples that load a fitted model give the same reconstruction as the worker.

use std::path::Path;
use std::process::Command;

use foldwise_shared::model::{ModelSettings, Network, TrialSettings};
use foldwise_shared::spec;
use foldwise_shared::value::Params;
use foldwise_worker::model::{self, Layout, Parameters};
use foldwise_worker::model_file::{self, ModelInfo};
use tch::{Device, Kind, Tensor};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the worker lies in the repository")
}

/// An image as numpy's own file (NEP 1, version 1.0).
fn npy(pixels: &[f32], height: i64, width: i64) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("short");
    let numbers = pixels.iter().flat_map(|pixel| pixel.to_le_bytes());
    [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes()]
        .concat()
        .into_iter()
        .chain(numbers)
        .collect()
}

/// The numbers of a file of 64-bit floats.
fn numbers(file: &[u8]) -> Vec<f64> {
    let length = usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = String::from_utf8_lossy(&file[10..10 + length]);
    assert!(header.contains("'<f8'") && header.contains("'fortran_order': False"), "{header}");
    file[10 + length..].as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn settings(section: &str) -> ModelSettings {
    let text = format!(
        "version = 1\nstudy = {{ name = \"tiny\" }}\ndata = {{ dataset = \"mnist\", holdout = 1 }}\n\
         model = {{ {section} }}\ntrain = {{ epochs = 1 }}\nbudget = {{ trials = 1 }}\n"
    );
    let spec = spec::parse(&text, &[]).expect("a study file");
    TrialSettings::resolve(&spec, &Params::new()).expect("all settings").model
}

#[test]
fn the_python_examples_reconstruct_what_we_do() {
    let packages = Command::new(repository().join("deploy/python.sh")).output().expect("a shell");
    assert!(packages.status.success(), "{}", String::from_utf8_lossy(&packages.stderr));
    let packages = String::from_utf8(packages.stdout).expect("a path");
    let folder = tempfile::tempdir().expect("a folder");
    let symmetric = r#"network = "symmetric", latent_dim = 5, channels = [4, 6, 9], linear_units = 20"#;
    let odd = r#"network = "symmetric", latent_dim = 3, convolutions = [[5, 3, 2], [3, 2, 0]], channels = [3, 7], linear_units = 11, activation = "relu""#;
    for (settings, height, width) in [
        (settings(r#"network = "lab", latent_dim = 6, dropout = 0.2"#), 28, 28),
        (settings(&format!("{symmetric}, instance_norm = true")), 28, 28),
        (settings(&format!("{symmetric}, variational = true")), 28, 28),
        (settings(odd), 23, 30),
    ] {
        tch::manual_seed(5);
        let network = model::build(&settings, height, width, Device::Cpu).expect("it fits");
        let specs = network.parameters();
        // Larger than first weights are, so that every part of the network shows in the output.
        let random = Parameters::random(specs.clone(), Device::Cpu).expect("small");
        let flat = random.flat().detach() * 2.0;
        let weights = Vec::<f32>::try_from(&flat).expect("floats");
        let image = Tensor::rand([1, height * width], (Kind::Float, Device::Cpu));
        let batch = match network.layout() {
            Layout::ImagesFirst => image.shallow_clone(),
            Layout::ImagesLast => image.tr().contiguous(),
        };
        let views = Parameters::of(specs.clone(), flat).views().expect("they fit");
        let pixels = network.forward(&views, &batch, false).expect("a reconstruction").pixels.reshape([-1]);
        let expected = Vec::<f32>::try_from(pixels).expect("floats");

        let info = ModelInfo {
            settings: settings.clone(),
            height,
            width,
            params: Params::new(),
            study: "tiny-fit".into(),
            epoch: 1,
            validation_loss: 0.5,
        };
        let write = |name: &str, content: Vec<u8>| {
            std::fs::write(folder.path().join(name), content).expect("written");
        };
        write("model.safetensors", model_file::to_bytes(&info, &weights, &specs).expect("it fits"));
        let input = Vec::<f32>::try_from(image.reshape([-1])).expect("floats");
        write("image.npy", npy(&input, height, width));
        let examples: &[&str] = match settings.network {
            Network::Lab => &["load_lab.py", "load_model.py"],
            Network::Symmetric => &["load_model.py"],
        };
        for example in examples {
            let ended = Command::new("python3")
                .arg(repository().join("docs/examples").join(example))
                .args(["model.safetensors", "image.npy", "reconstruction.npy"])
                .env("PYTHONPATH", packages.trim())
                .current_dir(folder.path())
                .output()
                .expect("python3");
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            let found = numbers(&std::fs::read(folder.path().join("reconstruction.npy")).expect("a file"));
            assert_eq!(found.len(), expected.len());
            let far = found.iter().zip(&expected).map(|(one, other)| (one - f64::from(*other)).abs());
            let far = far.fold(0.0, f64::max);
            assert!(far < 1e-5, "{far} by {example} for {settings:?}");
        }
        let (low, high) =
            expected.iter().fold((1.0f32, 0.0f32), |(low, high), pixel| (low.min(*pixel), high.max(*pixel)));
        assert!(high - low > 1e-3, "an image of {low} to {high} shows nothing");
    }
}
