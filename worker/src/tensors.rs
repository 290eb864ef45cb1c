//! What our files of weights have in common: they are in the safetensors format, of 32-bit floats. A file may come from
//! anywhere, so nothing is believed before it is checked. Errors are the last part of a message that says of which file.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

use crate::model::ParameterSpec;

/// The longest header of a file, in bytes; ours have a few thousand.
const MAX_HEADER: usize = 1 << 20;

/// Makes sure that every tensor lies within the file, before the crate adds up what the header says.
pub(crate) fn check_offsets(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("it is cut off after {} bytes", bytes.len()));
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_HEADER {
        return Err(format!("it claims a header of {length} bytes; at most {MAX_HEADER} can be"));
    }
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err(format!("it is cut off after {} bytes, within its header", bytes.len()));
    };
    #[derive(Deserialize)]
    struct Place {
        data_offsets: Option<(u64, u64)>,
    }
    let places: HashMap<String, Place> =
        serde_json::from_slice(header).map_err(|error| format!("its header makes no sense: {error}"))?;
    for (name, place) in places {
        let Some((start, end)) = place.data_offsets else { continue };
        if start > end || end > data.len() as u64 {
            let there = data.len();
            return Err(format!(
                "{name:?} should lie from byte {start} to {end} of its {there}; it is cut off"
            ));
        }
    }
    Ok(())
}

/// The sides of a weight, and how many numbers it has.
pub(crate) fn shape(spec: &ParameterSpec) -> Result<(Vec<usize>, usize), String> {
    let shape = spec.shape.iter().map(|side| usize::try_from(*side)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| format!("{} has a negative side", spec.name))?;
    let count = shape.iter().product();
    Ok((shape, count))
}

/// The name of a tensor, its sides and its bytes.
pub(crate) type Named = (String, Vec<usize>, Vec<u8>);

/// Each weight of a row of them all with its name behind `prefix`, its sides and its bytes.
pub(crate) fn split(prefix: &str, weights: &[f32], specs: &[ParameterSpec]) -> Result<Vec<Named>, String> {
    let mut rest = weights;
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let (shape, count) = shape(spec)?;
        let Some((own, others)) = rest.split_at_checked(count) else {
            return Err(format!("{} weights are too few for the network", weights.len()));
        };
        tensors.push((format!("{prefix}{}", spec.name), shape, bytes_of(own)));
        rest = others;
    }
    if !rest.is_empty() {
        return Err(format!("{} weights are too many for the network", weights.len()));
    }
    Ok(tensors)
}

pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Appends the numbers of a tensor, which must be of 32-bit floats and of that shape.
pub(crate) fn read_values(
    name: &str,
    view: &TensorView<'_>,
    shape: &[usize],
    values: &mut Vec<f32>,
) -> Result<(), String> {
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        let (kind, found) = (view.dtype(), view.shape());
        return Err(format!("the tensor {name} is {kind:?} {found:?}, not F32 {shape:?}"));
    }
    let numbers = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    values.extend(numbers);
    Ok(())
}
