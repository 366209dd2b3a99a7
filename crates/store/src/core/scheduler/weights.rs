//! Shares of the priorities: smooth weighted round robin, as in nginx (`ngx_http_upstream_round_robin.c`): every candidate gains its weight, the
//! richest goes and pays the sum. So 3:1 is served a a b a, not a a a b.

use squall_protocol::Priority;
use squall_protocol::lane::ByPriority;

#[derive(Clone, Debug)]
pub(super) struct Weights {
    weights: [i64; 3],
    credit: [i64; 3],
}

impl Weights {
    pub(super) fn new(weights: &ByPriority<u32>) -> Self {
        Self { weights: Priority::ALL.map(|priority| i64::from(*weights.get(priority))), credit: [0; 3] }
    }

    /// Chooses among the levels that have something; levels without weight only when no other has anything.
    pub(super) fn choose(&mut self, has: [bool; 3]) -> Option<usize> {
        let candidates = || (0..3).filter(|&level| has[level] && self.weights[level] > 0);
        let Some(first) = candidates().next() else { return has.iter().position(|&has| has) };
        let total: i64 = candidates().map(|level| self.weights[level]).sum();
        let mut best = first;
        for (level, &has) in has.iter().enumerate() {
            if has && self.weights[level] > 0 {
                self.credit[level] += self.weights[level];
                if self.credit[level] > self.credit[best] {
                    best = level;
                }
            }
        }
        self.credit[best] -= total;
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_smooth() {
        let mut weights = Weights::new(&ByPriority { high: 3, normal: 1, low: 0 });
        let order: Vec<_> = (0..8).map(|_| weights.choose([true, true, true]).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(weights.choose([false, false, true]), Some(2), "nothing else waits");
        assert_eq!(weights.choose([false; 3]), None);
    }
}
