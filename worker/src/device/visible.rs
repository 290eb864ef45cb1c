//! What `CUDA_VISIBLE_DEVICES` leaves of the GPUs of a machine, and in which order CUDA then counts them.
//!
//! The rules are CUDA's (CUDA C++ Programming Guide, "CUDA Environment Variables"): indices and UUIDs, of which the
//! first letters are enough, in the order in which they stand; whatever follows a wrong one does not count.

/// A GPU that CUDA sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Visible {
    /// The GPU at this place of the list.
    Gpu(usize),
    /// A part of a GPU, by its UUID: `MIG-...`. NVML lists only whole ones.
    Part(String),
}

/// The GPUs that are visible, in CUDA's order. `gpus` are the index and UUID of each on this machine; `variable` is
/// `CUDA_VISIBLE_DEVICES`, where it is set.
pub(super) fn visible(gpus: &[(usize, &str)], variable: Option<&str>) -> Vec<Visible> {
    let Some(variable) = variable else { return (0..gpus.len()).map(Visible::Gpu).collect() };
    let mut seen = Vec::new();
    for word in variable.split(',') {
        let Some(found) = find(gpus, word.trim()) else { break };
        if seen.contains(&found) {
            // CUDA sees nothing at all then.
            return Vec::new();
        }
        seen.push(found);
    }
    seen
}

fn find(gpus: &[(usize, &str)], word: &str) -> Option<Visible> {
    if starts_with("MIG-", word) {
        return Some(Visible::Part(word.to_owned()));
    }
    let mut found = gpus.iter().enumerate().filter(|(_, (index, uuid))| {
        if starts_with("GPU-", word) { starts_with(word, uuid) } else { word.parse() == Ok(*index) }
    });
    let (place, _) = found.next()?;
    // The first letters of several UUIDs name none of them.
    found.next().is_none().then_some(Visible::Gpu(place))
}

fn starts_with(start: &str, text: &str) -> bool {
    text.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPUS: [(usize, &str); 4] = [
        (0, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
        (1, "GPU-8932aaaa-0000-0000-0000-000000000001"),
        (2, "GPU-00000000-0000-0000-0000-000000000002"),
        // The machine's third does not answer.
        (4, "GPU-44444444-0000-0000-0000-000000000004"),
    ];

    #[test]
    fn the_variable_is_read_as_cuda_reads_it() {
        let cases: &[(Option<&str>, &[usize])] = &[
            (None, &[0, 1, 2, 3]),
            (Some(""), &[]),
            (Some(" "), &[]),
            (Some("-1"), &[]),
            (Some("NoDevFiles"), &[]),
            (Some("none"), &[]),
            (Some("0"), &[0]),
            (Some("2,0"), &[2, 0]),
            (Some(" 2 , 0 "), &[2, 0]),
            (Some("4"), &[3]),
            (Some("0,3,1"), &[0]),
            (Some("0,-1,1"), &[0]),
            (Some("0,,1"), &[0]),
            (Some("7,0"), &[]),
            (Some("1,1"), &[]),
            (Some("0,1,0"), &[]),
            (Some("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"), &[0]),
            (Some("gpu-8932F937"), &[0]),
            (Some("GPU-0,GPU-8932a,GPU-8932f"), &[2, 1, 0]),
            (Some("GPU-8932"), &[]),
            (Some("GPU-4,GPU-9,0"), &[3]),
            (Some("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6-and-more"), &[]),
            (Some("0,GPU-8932f"), &[]),
            (Some("1,GPU-8932f"), &[1, 0]),
            (Some("8932f937"), &[]),
            (Some("18446744073709551616"), &[]),
            (Some("ä"), &[]),
        ];
        for (variable, expected) in cases {
            let expected: Vec<Visible> = expected.iter().map(|place| Visible::Gpu(*place)).collect();
            assert_eq!(visible(&GPUS, *variable), expected, "{variable:?}");
        }
    }

    #[test]
    fn a_part_of_a_gpu_goes_by_its_name() {
        let part = |name: &str| Visible::Part(name.into());
        assert_eq!(visible(&GPUS, Some("MIG-1,MIG-2")), [part("MIG-1"), part("MIG-2")]);
        assert_eq!(visible(&[], Some("MIG-GPU-8932f937/1/0")), [part("MIG-GPU-8932f937/1/0")]);
        assert_eq!(visible(&GPUS, Some("MIG-1,MIG-1")), []);
    }

    #[test]
    fn a_machine_without_gpus_has_none_to_see() {
        for variable in [None, Some("0"), Some("GPU-1")] {
            assert_eq!(visible(&[], variable), []);
        }
    }
}
