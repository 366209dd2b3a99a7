//! The gateways that a client may use, where several act as one. A client uses one of them at a time, and goes on to the next
//! when that one is gone; which failure means that, and how long to wait, is the business of the client.

use std::sync::Arc;

use crate::Endpoint;

/// One gateway, or several that share a store. Cheap to clone; each clone goes its own way.
#[derive(Clone, Debug)]
pub struct Endpoints {
    all: Arc<[Endpoint]>,
    home: usize,
    now: usize,
}

impl Endpoints {
    /// These gateways, beginning with the first; `None` when there is none.
    #[must_use]
    pub fn new(all: impl Into<Arc<[Endpoint]>>) -> Option<Self> {
        let all = all.into();
        (!all.is_empty()).then_some(Self { all, home: 0, now: 0 })
    }

    /// The same gateways for the `index`-th client: clients that are counted from 0 are spread over all of them.
    #[must_use]
    pub fn spread(&self, index: u64) -> Self {
        let home = (index % self.all.len() as u64) as usize;
        Self { all: self.all.clone(), home, now: home }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Endpoint] {
        &self.all
    }

    /// The one in use.
    #[must_use]
    pub fn current(&self) -> &Endpoint {
        &self.all[self.now]
    }

    /// The place of the one in use among all.
    #[must_use]
    pub fn index(&self) -> usize {
        self.now
    }

    /// Goes on to the next one; with only one that is the same again.
    pub fn advance(&mut self) {
        self.now = (self.now + 1) % self.all.len();
    }

    /// Goes back to the one that this client began with; false when it is there.
    pub fn go_home(&mut self) -> bool {
        let away = self.now != self.home;
        self.now = self.home;
        away
    }
}

impl From<Endpoint> for Endpoints {
    fn from(endpoint: Endpoint) -> Self {
        Self { all: Arc::from([endpoint]), home: 0, now: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_and_each_goes_round_and_home() {
        let all: Vec<Endpoint> = (1..=3).map(|port| Endpoint::parse(&format!("http://x:{port}")).unwrap()).collect();
        let endpoints = Endpoints::new(all).unwrap();
        let ports: Vec<u16> = (0..4).map(|index| endpoints.spread(index).current().port()).collect();
        assert_eq!(ports, [1, 2, 3, 1]);
        let mut third = endpoints.spread(2);
        third.advance();
        assert_eq!((third.current().port(), third.index()), (1, 0));
        assert!(third.go_home() && !third.go_home());
        assert_eq!(third.current().port(), 3);
        assert!(Endpoints::new(Vec::new()).is_none());
        let mut only = Endpoints::from(Endpoint::parse("http://x:9").unwrap());
        only.advance();
        assert_eq!((only.current().port(), only.go_home()), (9, false));
    }
}
