use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    tick: Duration::from_secs(1),
    glance: Duration::from_millis(250),
    stable: Duration::from_secs(60),
    panic: Duration::from_secs(6),
};

/// A function that does as it is told, and the clock.
struct World {
    scale: Scale,
    window: Window,
    second: u64,
    replicas: u32,
    floor: u32,
    last: Option<Advice>,
}

impl World {
    fn new(scale: Scale, replicas: u32) -> Self {
        Self { scale, window: Window::default(), second: 0, replicas, floor: 0, last: None }
    }

    fn advise(&self) -> Advice {
        let policy =
            Policy { scale: &self.scale, floor: self.floor, is_held: false, timing: &TIMING };
        desired(&policy, &self.window, Duration::from_secs(self.second), self.replicas)
    }

    fn tick(&mut self, load: impl Into<Option<f64>>) -> u32 {
        self.second += 1;
        let at = Duration::from_secs(self.second);
        self.window.push(at, load.into(), &TIMING);
        self.take(self.advise(), at)
    }

    /// Takes what was advised.
    fn take(&mut self, advice: Advice, at: Duration) -> u32 {
        let keep = self.scale.down_window.unwrap_or_default();
        self.window.note_needed(at, advice.numbers.needed, keep);
        if advice.panics {
            self.window.panicked(at);
        }
        if advice.rises {
            self.window.rose(at);
        }
        if advice.replicas > self.replicas {
            self.window.raised(at);
        }
        self.replicas = advice.replicas;
        self.last = Some(advice);
        self.replicas
    }

    /// What the autoscaler does between two ticks: no less comes of it.
    fn glance(&mut self, number: u32, load: f64) {
        let at = Duration::from_secs(self.second) + TIMING.glance * number;
        self.window.glance(Some(load));
        let policy =
            Policy { scale: &self.scale, floor: self.floor, is_held: false, timing: &TIMING };
        let advice = desired(&policy, &self.window, at, self.replicas);
        if advice.replicas > self.replicas {
            self.take(advice, at);
        }
    }

    /// A second with its glances.
    fn pass(&mut self, load: f64) -> u32 {
        (1..=3).for_each(|number| self.glance(number, load));
        self.window.glance(Some(load));
        self.tick(load)
    }

    fn ticks(&mut self, count: u64, load: f64) -> Vec<u32> {
        (0..count).map(|_| self.tick(load)).collect()
    }

    fn why(&self) -> Why {
        self.last.as_ref().unwrap().why
    }
}

/// 10 a replica, from 1 to `max`.
fn scale(max: u32) -> Scale {
    Scale { max, target: 10.0, proportion: 1.0, ..Scale::default() }
}

#[test]
fn the_contracts_examples() {
    for (load, target, proportion, ready, want) in
        [(15.0, 5.0, 1.0, 1, 3), (25.0, 5.0, 1.0, 3, 5), (90.0, 100.0, 0.7, 1, 2)]
    {
        let scale = Scale { target, proportion, ..Scale::default() };
        let mut world = World::new(scale, ready);
        world.ticks(2, load);
        assert_eq!(world.replicas, want, "{load}");
    }
    let mut world = World::new(scale(20), 3);
    world.ticks(200, 0.0);
    assert_eq!(world.replicas, 1, "without load min, never 0");
}

#[test]
fn from_one_to_twenty_times_the_target_in_two_ticks() {
    let mut world = World::new(scale(20), 1);
    world.ticks(100, 5.0);
    assert_eq!(world.ticks(2, 200.0)[1], 20);
}

#[test]
fn a_step_between_two_ticks_does_not_wait_for_the_panic_window() {
    // The first tick sees most of the step and raises to nearly enough: what is missing then is
    // less than a tenth, and would begin no rise.
    let mut world = World::new(scale(20), 1);
    world.ticks(100, 10.0);
    assert_eq!(world.ticks(3, 10.0), [1; 3]);
    assert_eq!(world.tick(180.0), 10);
    assert_eq!(world.tick(200.0), 19);
    assert_eq!((world.tick(200.0), world.why()), (20, Why::More));
}

#[test]
fn a_rise_that_is_over_is_followed_no_more() {
    let mut world = World::new(scale(20), 1);
    world.ticks(100, 10.0);
    assert_eq!(world.ticks(10, 38.0)[1..], [4; 9]);
    // It fits for two seconds, and would not for six.
    assert_eq!(world.ticks(2, 42.0), [4; 2]);
    assert_eq!(world.ticks(6, 38.0), [4; 6]);
    assert_eq!(world.ticks(6, 42.0)[5], 5);
}

#[test]
fn a_burst_in_one_glance_is_no_load() {
    let mut world = World::new(scale(20), 1);
    world.ticks(100, 5.0);
    for glances in [[5.0, 400.0, 0.0], [400.0, 5.0, 400.0]] {
        for load in glances {
            world.window.glance(Some(load));
            assert_eq!((world.advise().replicas, world.advise().panics), (1, false));
        }
    }
    world.window.glance(Some(90.0));
    assert_eq!((world.advise().replicas, world.advise().panics), (9, true));
}

#[test]
fn nothing_goes_down_while_it_panics_nor_soon_after() {
    let mut world = World::new(scale(20), 1);
    world.ticks(100, 5.0);
    world.ticks(5, 200.0);
    let after = world.ticks(120, 5.0);
    let held = after.iter().take_while(|replicas| **replicas == 20).count();
    // The panic ends with the last tick in which the load was twice what fits.
    assert!((54..=62).contains(&held), "{held}");
    assert_eq!(after.last(), Some(&1));
    let steps = after.windows(2).filter(|pair| pair[0] != pair[1]).collect::<Vec<_>>();
    assert!(steps.iter().all(|pair| pair[1] >= pair[0].div_ceil(2)), "{steps:?}");
}

#[test]
fn a_load_that_is_nearly_the_same_changes_nothing() {
    let mut world = World::new(scale(20), 4);
    world.ticks(100, 37.0);
    assert_eq!((world.replicas, world.why()), (4, Why::Enough));
    // 29 would fit on three, and the next breath would not.
    world.ticks(100, 29.0);
    assert_eq!((world.replicas, world.why()), (4, Why::Enough));
    world.ticks(100, 26.0);
    assert_eq!(world.replicas, 3);
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut world = World::new(scale(20), 7);
    for _ in 0..300 {
        world.tick(None);
    }
    assert_eq!((world.replicas, world.why()), (7, Why::NoData));
    // It is known again, and says: less. Not for as long as the window has gaps.
    world.ticks(40, 1.0);
    assert_eq!((world.replicas, world.why()), (7, Why::Unsure));
    world.ticks(30, 1.0);
    assert!(world.replicas < 7);
    world.ticks(2, 500.0);
    assert_eq!(world.replicas, 20, "more is believed at once");
}

#[test]
fn a_gateway_that_just_started_takes_nothing_away() {
    let mut world = World::new(scale(20), 9);
    assert_eq!(world.ticks(59, 1.0), [9; 59]);
    assert_eq!(world.why(), Why::Unsure);
    assert_eq!(world.tick(1.0), 5);
}

#[test]
fn bounds_are_gone_to_at_once_and_schedules_lift_them() {
    let mut world = World::new(Scale { min: 3, ..scale(8) }, 1);
    assert_eq!((world.tick(1.0), world.why()), (3, Why::Bounds));
    world.floor = 5;
    assert_eq!((world.tick(1.0), world.why()), (5, Why::Schedule));
    world.floor = 50;
    assert_eq!(world.tick(1.0), 8, "max holds for schedules too");
    assert_eq!(world.tick(999.0), 8);
    world.floor = 0;
    world.ticks(200, 1.0);
    assert_eq!(world.replicas, 3);
    let mut fixed = World::new(Scale { min: 4, ..scale(4) }, 4);
    assert_eq!((fixed.ticks(90, 900.0)[89], fixed.why()), (4, Why::Static));
}

#[test]
fn what_sleeps_is_not_woken_by_load() {
    let mut world = World::new(scale(20), 0);
    assert_eq!((world.tick(100.0), world.why()), (0, Why::Asleep));
}

#[test]
fn the_down_window_keeps_the_highest_need() {
    let down_window = Some(Duration::from_secs(300));
    let mut world = World::new(Scale { down_window, ..scale(20) }, 1);
    world.ticks(10, 55.0);
    world.ticks(200, 5.0);
    assert_eq!((world.replicas, world.why()), (6, Why::DownWindow));
    world.ticks(110, 5.0);
    assert_eq!(world.replicas, 1);
}

#[test]
fn steps_up_have_a_limit() {
    let mut world = World::new(scale(5000), 1);
    assert_eq!(world.ticks(4, 1e9), [21, 210, 2100, 5000]);
}

fn any_scale() -> impl Strategy<Value = Scale> {
    let down = prop::option::of((1u64..300).prop_map(Duration::from_secs));
    (1u32..10, 0u32..40, 0.5f64..200.0, 0.1f64..=1.0, down).prop_map(
        |(min, more, target, proportion, down_window)| Scale {
            min,
            max: min + more,
            target,
            proportion,
            down_window,
            ..Scale::default()
        },
    )
}

fn any_load() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        6 => (0.0f64..5000.0).prop_map(Some),
        1 => Just(Some(f64::MAX)),
        1 => Just(Some(0.0)),
    ]
}

proptest! {
    #[test]
    fn never_outside_of_the_bounds(
        scale in any_scale(), begin in 1u32..60, floor in 0u32..60,
        loads in prop::collection::vec(any_load(), 1..200),
    ) {
        let (min, max) = (scale.min, scale.max);
        let mut world = World { floor, ..World::new(scale, begin) };
        for load in loads {
            let replicas = world.tick(load);
            prop_assert!((min..=max).contains(&replicas), "{replicas} of {min}..{max}");
        }
    }

    #[test]
    fn more_load_is_never_fewer_replicas(
        scale in any_scale(), begin in 1u32..60,
        loads in prop::collection::vec((0.0f64..3000.0, 0.0f64..3000.0), 1..90),
    ) {
        let mut less = World::new(scale.clone(), begin);
        let mut more = World::new(scale, begin);
        for (load, extra) in loads {
            less.second += 1;
            more.second += 1;
            let at = Duration::from_secs(less.second);
            less.window.push(at, Some(load), &TIMING);
            more.window.push(at, Some(load + extra), &TIMING);
            less.window.glance(Some(load));
            more.window.glance(Some(load + extra));
        }
        prop_assert!(less.advise().replicas <= more.advise().replicas);
    }

    #[test]
    fn a_step_up_is_followed_within_two_ticks(
        scale in any_scale(), before in 0.0f64..500.0, times in 1.2f64..100.0,
        phase in 0.0f64..1.0,
    ) {
        let mut world = World::new(scale, 1);
        world.ticks(70, before);
        let load = (f64::from(world.replicas) * world.scale.per_replica()) * times;
        // The step comes in the midst of a tick, which sees a part of it.
        world.tick(before + (load - before) * phase);
        let after = world.ticks(2, load);
        let policy = Policy { scale: &world.scale, floor: 0, is_held: false, timing: &TIMING };
        prop_assert_eq!(after[1], policy.clamp(policy.needed(load)));
    }

    #[test]
    fn a_leap_is_followed_within_three_whole_glances(
        scale in any_scale(), before in 0.0f64..500.0, times in 2.0f64..100.0,
        phase in 0.0f64..1.0,
    ) {
        let mut world = World::new(scale, 1);
        world.ticks(70, before);
        let load = (f64::from(world.replicas) * world.scale.per_replica()) * times;
        let partly = before + (load - before) * phase;
        // The third is for steps up that have a limit.
        for (glance, seen) in (0..).zip([before, partly, load, load, load]) {
            world.glance(glance, seen);
        }
        let policy = Policy { scale: &world.scale, floor: 0, is_held: false, timing: &TIMING };
        prop_assert_eq!(world.replicas, policy.clamp(policy.needed(load)));
    }
}

proptest! {
    // Each is many minutes of looks and glances.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_constant_load_comes_to_rest(
        scale in any_scale(), begin in 1u32..60, before in 0.0f64..5000.0, load in 0.0f64..5000.0,
    ) {
        let mut world = World::new(scale, begin);
        (0..70).for_each(|_| _ = world.pass(before));
        (0..450).for_each(|_| _ = world.pass(load));
        let rest = world.replicas;
        prop_assert!((0..200).all(|_| world.pass(load) == rest));
        // Enough for the load, and not a tenth more than that.
        let per = world.scale.per_replica();
        prop_assert!(rest == world.scale.max || f64::from(rest) * per >= load - 1e-6);
        let most = ((load * TOLERANCE / per).ceil() as u32).clamp(world.scale.min, world.scale.max);
        prop_assert!(rest <= most, "{rest} > {most}");
    }

    #[test]
    fn a_constant_load_is_not_followed_back_and_forth(
        scale in any_scale(), begin in 1u32..60, load in 0.0f64..5000.0,
    ) {
        let mut world = World::new(scale, begin);
        let counts: Vec<u32> = (0..500).map(|_| world.pass(load)).collect();
        let turns = counts.windows(2).filter(|pair| pair[1] > pair[0]).count()
            .min(counts.windows(2).filter(|pair| pair[1] < pair[0]).count());
        prop_assert_eq!(turns, 0, "{:?}", counts);
    }
}
