//! When a gateway is back, those who began on it return to it: otherwise all would end up with the one that was never gone, and
//! nobody would look at the others any more.

use tokio::sync::watch;

use super::Place;

/// What one VU has heard of gateways that came back.
pub(super) struct Homecoming(watch::Receiver<u64>);

impl Homecoming {
    pub(super) fn new(place: &Place) -> Self {
        Self(place.core.run.came_back.subscribe())
    }

    /// Whether one has come back since this was last true.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.0.has_changed().unwrap_or(false);
        if due {
            self.0.mark_unchanged();
        }
        due
    }

    /// Waits until one comes back. Can be cancelled at any time.
    pub(super) async fn due(&mut self) {
        if self.0.changed().await.is_err() {
            // The run is gone; whoever waits hears of that elsewhere.
            std::future::pending::<()>().await;
        }
    }
}
