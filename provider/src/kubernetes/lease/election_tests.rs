use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn lease(holder: &str, version: u64) -> Record {
    Record {
        holder: holder.to_owned(),
        url: None,
        version: version.to_string(),
        duration: DURATION,
        transitions: 0,
    }
}

/// A candidate that won the lease in version 1 at that moment.
fn leader(now: Instant) -> Election {
    let mut election = Election::new("a".to_owned());
    election.read(None, now);
    assert_eq!(election.due(), Some(now), "a lease that nobody has is claimed at once");
    let claim = election.claim(now);
    assert_eq!(claim, Claim { version: None, is_new: true, transitions: 0 });
    election.won(lease("a", 1), now);
    assert!(election.leads_until(now).is_some());
    election
}

#[test]
fn nothing_is_claimed_that_was_not_read() {
    let election = Election::new("a".to_owned());
    assert_eq!((election.due(), election.holder()), (None, None));
}

#[test]
fn a_lease_of_another_is_free_when_no_change_was_seen_for_its_time() {
    let (mut election, now) = (Election::new("b".to_owned()), Instant::now());
    election.read(Some(lease("a", 1)), now);
    assert_eq!(election.due(), Some(now + DURATION));
    let later = now + 3 * SECOND;
    election.read(Some(lease("a", 1)), later);
    assert_eq!(election.due(), Some(now + DURATION), "it was read again, and is the same");
    election.observe(Some(lease("a", 2)), later);
    assert_eq!(election.due(), Some(later + DURATION));
    let longer = Record { duration: 30 * SECOND, ..lease("a", 3) };
    election.observe(Some(longer), later);
    assert_eq!(election.due(), Some(later + 30 * SECOND), "it wants to be held for longer");
    election.observe(Some(lease("", 4)), later);
    assert_eq!(election.due(), Some(later), "it was given back");
    assert_eq!(election.claim(later).transitions, 1);
    assert_eq!(election.due(), Some(later + RETRY), "one attempt at a time");
}

#[test]
fn a_lease_that_is_not_prolonged_is_over_for_its_holder_first() {
    let now = Instant::now();
    let mut election = leader(now);
    assert_eq!(election.due(), Some(now + RETRY));
    let sent = now + 2 * SECOND;
    assert_eq!(election.claim(sent).version.as_deref(), Some("1"));
    // No answer comes.
    assert_eq!(election.leads_until(sent), Some(now + LEAD), "counted from what was taken");
    assert_eq!(election.leads_until(now + LEAD), None);
    assert_eq!(election.due(), Some(sent + RETRY), "it goes on to try");
    let sent = now + 9 * SECOND;
    let claim = election.claim(sent);
    assert!(!claim.is_new);
    election.won(lease("a", 2), sent);
    assert_eq!(election.leads_until(sent), Some(sent + LEAD));
}

#[test]
fn who_sees_another_holder_leads_no_more() {
    let now = Instant::now();
    let mut election = leader(now);
    election.observe(Some(lease("b", 2)), now + SECOND);
    assert_eq!(election.leads_until(now + SECOND), None);
    assert_eq!(election.due(), Some(now + SECOND + DURATION));
}

#[test]
fn what_a_watch_tells_late_changes_nothing() {
    let now = Instant::now();
    let mut election = leader(now);
    election.won(lease("a", 12), now);
    election.observe(Some(lease("b", 9)), now);
    assert!(election.leads_until(now).is_some(), "version 9 was before version 12");
    // A cluster that was restored from a backup counts from an earlier number.
    election.read(Some(lease("b", 9)), now);
    assert_eq!(election.leads_until(now), None);
}

#[test]
fn a_lease_that_was_deleted_is_left_to_its_holder_for_its_time() {
    let now = Instant::now();
    let mut other = Election::new("b".to_owned());
    other.read(Some(lease("a", 1)), now);
    other.observe(None, now + SECOND);
    assert_eq!(other.due(), Some(now + DURATION));
    let mut holder = leader(now);
    holder.observe(None, now + SECOND);
    assert!(holder.leads_until(now + SECOND).is_some());
}

#[test]
fn who_has_resigned_gives_back_what_is_its_own_and_wants_nothing() {
    let now = Instant::now();
    let mut election = leader(now);
    let claim = election.resign().unwrap();
    assert_eq!(claim.version.as_deref(), Some("1"));
    assert_eq!((election.leads_until(now), election.due()), (None, None));
    election.read(Some(lease("", 2)), now);
    assert_eq!((election.due(), election.resign()), (None, None));
    election.observe(Some(lease("b", 3)), now);
    assert_eq!(election.holder().unwrap().holder, "b", "it still knows who leads");
}

/// A lease somewhere, and candidates whose requests take time or get lost, whose clocks began
/// at other times and run at other speeds.
struct World {
    lease: Option<Record>,
    version: u64,
    candidates: Vec<Candidate>,
    /// Writes that are on their way, whoever still waits for what comes of them.
    writes: Vec<Write>,
    base: Instant,
    ms: u32,
    dice: u64,
    trouble: bool,
}

struct Candidate {
    name: String,
    election: Election,
    /// What its clock shows at the begin, in milliseconds.
    offset: u32,
    /// Its speed in percent.
    speed: u32,
    is_alive: bool,
    request: Option<Request>,
    /// What the watch has not told yet, and when it does.
    news: Option<(u32, Option<Record>)>,
    led: u32,
}

struct Request {
    number: u32,
    sent: Instant,
    /// When it is given up.
    ends: u32,
    /// When it is answered, with what the lease is then, if it was written.
    answer: Option<(u32, Option<Record>)>,
}

struct Write {
    at: u32,
    candidate: usize,
    number: u32,
    version: Option<String>,
}

impl World {
    fn new(seed: u64, trouble: bool) -> Self {
        let mut world = Self {
            lease: None,
            version: 0,
            candidates: Vec::new(),
            writes: Vec::new(),
            base: Instant::now(),
            ms: 0,
            dice: seed,
            trouble,
        };
        for index in 0..3 {
            let name = format!("c{index}");
            let candidate = Candidate {
                election: Election::new(name.clone()),
                name,
                offset: world.roll(3_600_000),
                speed: 95 + world.roll(11),
                is_alive: true,
                request: None,
                news: Some((0, None)),
                led: 0,
            };
            world.candidates.push(candidate);
        }
        world
    }

    fn roll(&mut self, sides: u32) -> u32 {
        // A linear congruential generator; its high bits are the better ones.
        self.dice =
            self.dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        ((self.dice >> 33) % u64::from(sides)) as u32
    }

    /// What a candidate's clock shows.
    fn now(&self, index: usize) -> Instant {
        let candidate = &self.candidates[index];
        self.base + MS * (candidate.offset + self.ms * candidate.speed / 100)
    }

    /// When something that begins now has got there; `None` when it gets lost.
    fn journey(&mut self) -> Option<u32> {
        let (fate, is_slow) = (self.roll(10), self.roll(3) == 0);
        let takes = match self.trouble {
            true if fate < 3 => return None,
            true => self.roll(if is_slow { 9000 } else { 500 }),
            false => self.roll(20),
        };
        Some(self.ms + takes)
    }

    fn step(&mut self) {
        self.ms += 10;
        self.arrive();
        for index in 0..self.candidates.len() {
            if self.candidates[index].is_alive {
                self.end(index);
                self.look(index);
                self.begin(index);
            }
        }
        let leaders = self.leaders();
        assert!(leaders.len() <= 1, "{leaders:?} lead at {} ms", self.ms);
        for index in leaders {
            self.candidates[index].led += 1;
        }
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |index: &usize| {
            let candidate = &self.candidates[*index];
            candidate.is_alive && candidate.election.leads_until(self.now(*index)).is_some()
        };
        (0..self.candidates.len()).filter(leads).collect()
    }

    fn look(&mut self, index: usize) {
        let (ms, now) = (self.ms, self.now(index));
        let candidate = &mut self.candidates[index];
        if candidate.request.is_none()
            && let Some((_, lease)) = candidate.news.take_if(|(at, _)| *at <= ms)
        {
            candidate.election.observe(lease, now);
        }
    }

    fn begin(&mut self, index: usize) {
        let (ms, sent) = (self.ms, self.now(index));
        let candidate = &mut self.candidates[index];
        let is_due = candidate.election.due().is_some_and(|due| due <= sent);
        if candidate.request.is_some() || !is_due {
            return;
        }
        let (version, number) = (candidate.election.claim(sent).version, ms);
        candidate.request = Some(Request { number, sent, ends: ms + 3000, answer: None });
        if let Some(at) = self.journey() {
            self.writes.push(Write { at, candidate: index, number, version });
        }
    }

    /// Writes get to the lease.
    fn arrive(&mut self) {
        let ms = self.ms;
        for write in self.writes.extract_if(.., |write| write.at <= ms).collect::<Vec<_>>() {
            let version = self.lease.as_ref().map(|lease| lease.version.clone());
            let is_taken = write.version == version;
            if is_taken {
                self.version += 1;
                self.lease = Some(lease(&self.candidates[write.candidate].name, self.version));
                for index in 0..self.candidates.len() {
                    // A watch that breaks off tells the latest when it is there again.
                    let at = self.journey().unwrap_or(ms + 5000);
                    self.candidates[index].news = Some((at, self.lease.clone()));
                }
            }
            let answer = self.journey().map(|at| (at, self.lease.clone().filter(|_| is_taken)));
            let request = self.candidates[write.candidate].request.as_mut();
            if let Some(request) = request.filter(|request| request.number == write.number) {
                request.answer = answer;
            }
        }
    }

    /// A request is answered, or given up.
    fn end(&mut self, index: usize) {
        let (ms, now, current) = (self.ms, self.now(index), self.lease.clone());
        let candidate = &mut self.candidates[index];
        let is_answered =
            |request: &Request| request.answer.as_ref().is_some_and(|(at, _)| *at <= ms);
        let is_over = |request: &mut Request| request.ends <= ms || is_answered(request);
        let Some(request) = candidate.request.take_if(is_over) else { return };
        match request.answer.filter(|(at, _)| *at <= ms) {
            Some((_, Some(written))) => candidate.election.won(written, request.sent),
            // It is read anew when another one came first.
            Some((_, None)) => candidate.election.read(current, now),
            None => (),
        }
    }
}

#[test]
fn never_do_two_lead_whatever_gets_lost_and_however_clocks_run() {
    let mut led = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, true);
        for step in 0..12_000 {
            world.step();
            if step == 6000 {
                world.candidates[0].is_alive = false;
            }
        }
        led += world.candidates.iter().filter(|candidate| candidate.led > 0).count();
    }
    assert!(led > 100, "with that much trouble others take over now and then: {led}");
}

#[test]
fn one_leads_soon_and_another_one_soon_after_it_died() {
    for seed in 0..50 {
        let mut world = World::new(seed, false);
        let within = |world: &mut World, seconds: u32| {
            let steps = (0..seconds * 100).take_while(|_| {
                world.step();
                world.leaders().is_empty()
            });
            steps.count() < seconds as usize * 100
        };
        assert!(within(&mut world, 1), "{seed}");
        (0..3000).for_each(|_| world.step());
        let [first] = world.leaders()[..] else { panic!("nobody leads") };
        world.candidates[first].is_alive = false;
        assert!(within(&mut world, 15), "{seed}");
        assert_ne!(world.leaders(), [first]);
    }
}
