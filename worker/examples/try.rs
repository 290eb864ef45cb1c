//! Temporary.
use std::sync::Arc;
use foldwise_worker::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    device::set_threads(1);
    let n: usize = a.get(2).map_or(60000, |t| t.parse().unwrap());
    let data = Arc::new(foldwise_data::Dataset::open("mnist", &foldwise_data::Locations::from_env()).unwrap());
    let images = images::DeviceImages::training(data, tch::Device::Cpu).unwrap();
    let r = bench::bench(&images, bench::BenchSettings { epochs: a.get(1).map_or(2, |t| t.parse().unwrap()), images: n, batch_size: 256 }).unwrap();
    println!("{}", serde_json::to_string(&r).unwrap());
}
