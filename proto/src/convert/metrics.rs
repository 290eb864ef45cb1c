//! What was measured in an epoch beside its losses.

use foldwise_shared::artifact::{MAX_METRICS, is_metric};
use foldwise_shared::record::Metrics;

use super::WireError;

/// The metrics of an epoch from the wire; what is no number is left out.
///
/// # Errors
/// Too many, or a name that is none.
pub fn metrics_from(mut wire: Metrics) -> Result<Metrics, WireError> {
    if wire.len() > MAX_METRICS {
        let message = format!("{} are too many; at most {MAX_METRICS}", wire.len());
        return Err(WireError::wrong("metrics", message));
    }
    if let Some(name) = wire.keys().find(|name| !is_metric(name)) {
        let shown: String = name.chars().take(40).collect();
        let message = format!("{shown:?} is no name of a metric; use 1 to 32 letters a-z, digits and `_`");
        return Err(WireError::wrong("metrics", message));
    }
    wire.retain(|_, value| value.is_finite());
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_left_out_and_what_has_no_name_is_refused() {
        let metrics = Metrics::from([("mse".into(), 0.5), ("kl".into(), f64::NAN)]);
        assert_eq!(metrics_from(metrics), Ok(Metrics::from([("mse".into(), 0.5)])));
        for name in ["", "KL", "a b", "../x", &"m".repeat(33)] {
            let error = metrics_from(Metrics::from([(name.into(), 1.0)])).expect_err(name).to_string();
            assert!(error.contains("no name of a metric"), "{error}");
        }
        let many: Metrics = (0..=MAX_METRICS).map(|index| (format!("m{index}"), 1.0)).collect();
        assert!(metrics_from(many).is_err());
    }
}
