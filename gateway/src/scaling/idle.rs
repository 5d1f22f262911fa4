//! How deep a function that nobody calls sleeps. No IO.

use std::time::Duration;

use provider::{Scale, State, Status, Target};

/// What is to become of a function that has had no call in flight for so long; `None` when it is
/// as it should be.
///
/// The tiers are hot, frozen, and stopped. A function whose replicas are still getting ready is not
/// frozen: what was not ready once would not be when it is thawed either. It is stopped, as others.
pub fn tier(scale: &Scale, idle: Duration, seen: &Status) -> Option<Target> {
    if seen.desired == 0 {
        return None;
    }
    if scale.zero && idle >= scale.zero_duration {
        return Some(Target::Replicas(0));
    }
    let is_due = scale.freeze_after.is_some_and(|after| idle >= after);
    (is_due && can_freeze(seen)).then_some(Target::Frozen)
}

/// Whether some of it takes calls, and no other part of it is about to.
fn can_freeze(seen: &Status) -> bool {
    let in_state = |state| seen.replicas.iter().any(|replica| replica.state == state);
    in_state(State::Ready) && !in_state(State::Starting)
}

#[cfg(test)]
mod tests {
    use provider::{Function, Replica};

    use super::*;

    const NEVER: Option<Target> = None;
    const FREEZE: Option<Target> = Some(Target::Frozen);
    const STOP: Option<Target> = Some(Target::Replicas(0));

    fn status(states: &[State]) -> Status {
        let replica = |state: &State| Replica {
            id: "a".to_owned(),
            address: None,
            state: *state,
            generation: 1,
            restarts: 0,
            last_exit: String::new(),
            trouble: String::new(),
        };
        let wanted = |state: &&State| !matches!(state, State::Stopped | State::Draining);
        Status {
            function: Function::from_json(br#"{"service":"f","image":"i"}"#).unwrap(),
            desired: states.iter().filter(wanted).count() as u32,
            replicas: states.iter().map(replica).collect(),
            generation: 1,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            reason: String::new(),
            warnings: Vec::new(),
        }
    }

    fn scale(zero: bool, freeze_after: Option<u64>) -> Scale {
        Scale {
            zero,
            zero_duration: Duration::from_secs(60),
            freeze_after: freeze_after.map(Duration::from_secs),
            ..Scale::default()
        }
    }

    fn after(scale: &Scale, seconds: u64, states: &[State]) -> Option<Target> {
        tier(scale, Duration::from_secs(seconds), &status(states))
    }

    #[test]
    fn first_frozen_then_stopped() {
        let scale = scale(true, Some(10));
        let ready = [State::Ready, State::Ready];
        let want = [(0, NEVER), (9, NEVER), (10, FREEZE), (59, FREEZE), (60, STOP), (900, STOP)];
        for (seconds, target) in want {
            assert_eq!(after(&scale, seconds, &ready), target, "{seconds}");
        }
        assert_eq!(after(&scale, 30, &[State::Frozen]), NEVER, "it is frozen");
        assert_eq!(after(&scale, 90, &[State::Frozen]), STOP);
        assert_eq!(after(&scale, 90, &[State::Stopped]), NEVER, "it is stopped");
    }

    #[test]
    fn each_tier_has_its_own_switch() {
        let (ready, day) = ([State::Ready], 24 * 3600);
        assert_eq!(after(&scale(false, None), day, &ready), NEVER);
        assert_eq!(after(&scale(false, Some(10)), day, &ready), FREEZE);
        assert_eq!(after(&scale(true, None), 59, &ready), NEVER);
        assert_eq!(after(&scale(true, None), 60, &ready), STOP);
        assert_eq!(after(&scale(true, Some(70)), 70, &ready), STOP, "zero comes first");
    }

    #[test]
    fn what_is_not_ready_is_not_frozen() {
        let scale = scale(true, Some(10));
        assert_eq!(after(&scale, 30, &[State::Starting]), NEVER);
        assert_eq!(after(&scale, 30, &[State::Ready, State::Starting]), NEVER);
        assert_eq!(after(&scale, 90, &[State::Starting]), STOP);
        assert_eq!(after(&scale, 30, &[State::Ready, State::Draining]), FREEZE);
        assert_eq!(after(&scale, 30, &[State::Ready, State::Frozen]), FREEZE, "the rest of it");
    }
}
