//! What whoever watches may know of a coordinator: how it is, and what it counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldwise_engine::scheduler::Census;
use tokio::sync::oneshot;

use super::{Coordinator, CoordinatorError, Input};
use crate::metrics::{Metrics, Now};

/// How long a loop that is well may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what was found is still true.
const FRESH: Duration = Duration::from_millis(500);

/// What was found last, and when.
pub(super) type LastHealth = Arc<tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>>;

impl Coordinator {
    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What there is now.
    ///
    /// # Errors
    /// The loop is gone.
    pub async fn census(&self) -> Result<Census, CoordinatorError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Input::Census { answer }).await.map_err(|_| CoordinatorError::Closed)?;
        answered.await.map_err(|_| CoordinatorError::Closed)
    }

    /// Whether it does its work: its loop answers, and what it was told last could be recorded.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub async fn health(&self) -> Result<(), String> {
        // Anybody may ask, and each look costs the loop something: those who ask at once get one answer.
        let mut last = self.last_health.lock().await;
        if let Some((_, known)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return known.clone();
        }
        let health = self.look().await;
        *last = Some((Instant::now(), health.clone()));
        health
    }

    async fn look(&self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.census()).await {
            Err(_) => return Err(format!("the coordinator's loop does not answer within {PATIENCE:?}")),
            Ok(Err(_)) => return Err("the coordinator's loop has ended".into()),
            Ok(Ok(_)) => {}
        }
        match self.outage() {
            Some(why) => Err(format!("nothing can be recorded: {why}")),
            None => Ok(()),
        }
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// The loop is gone or does not answer, or the database cannot be read.
    pub async fn metrics_page(&self) -> Result<String, CoordinatorError> {
        let census = tokio::time::timeout(PATIENCE, self.census());
        let census = census.await.map_err(|_| CoordinatorError::Closed)??;
        let studies = self.read(|reader| Ok(reader.counts()?)).await?;
        let inbox = self.inbox.max_capacity() - self.inbox.capacity();
        let now = Now { census: &census, studies: &studies, inbox };
        self.metrics.page(&now).map_err(|_| CoordinatorError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Options;
    use crate::store::Store;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_counts_what_was_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("study.db");
        let store = Store::open(&path).expect("a database");
        let (coordinator, _) = Coordinator::start(store, &path, Options::default()).expect("a loop");
        assert_eq!(coordinator.health().await, Ok(()));
        coordinator.metrics().commit_failed();
        let page = coordinator.metrics_page().await.expect("a page");
        assert!(page.contains("\nfoldwise_commits_failed_total 1\n"), "{page}");
        assert!(page.contains("\nfoldwise_inbox_events 0\n"), "{page}");
    }

    #[tokio::test]
    async fn a_loop_that_is_gone_is_not_well() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("study.db");
        let store = Store::open(&path).expect("a database");
        let (mut coordinator, _) = Coordinator::start(store, &path, Options::default()).expect("a loop");
        // As if its receiver were dropped.
        coordinator.inbox = tokio::sync::mpsc::channel(1).0;
        assert_eq!(coordinator.health().await, Err("the coordinator's loop has ended".to_owned()));
    }
}
