//! Alertmanager's messages, and what they ask for.

use gateway::api::alert::Message;
use provider::{Name, Scale};

/// The counts of replicas that are tried.
const COUNTS: [u32; 5] = [0, 1, 7, 20, u32::MAX];

/// A function that is named can be looked up by what was read, and what is asked for is within its
/// bounds.
pub fn run(data: &[u8]) {
    let Some(message) = Message::from_json(data) else { return };
    for alert in &message.alerts {
        if let Some(name) = alert.function() {
            assert_eq!(Name::parse(&name.to_string()).ok(), Some(name));
        }
        for (min, max, factor) in [(1, 20, 10), (0, 1, 1), (3, 3, 100), (1, u32::MAX, 100)] {
            let scale = Scale { min, max, factor, ..Scale::default() };
            for current in COUNTS {
                let wanted = alert.wanted(current, &scale);
                assert!(wanted == 0 || (min..=max).contains(&wanted), "{wanted} of {scale:?}");
                let is_more = wanted >= current.min(max);
                assert!(is_more || !alert.is_firing(), "{current} to {wanted}");
            }
        }
    }
}
