//! Asking new pods whether they answer, so that nobody waits for the kubelet's probe to come round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::core::Core;
use super::state::{Key, Member};
use crate::probe::{FIRST_PAUSE, LAST_PAUSE, PORT, status};

/// Longest that one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// One run of one pod, to be asked.
struct Dial {
    core: Arc<Core>,
    key: Key,
    pod: String,
    uid: String,
    run: String,
    address: SocketAddr,
    path: String,
}

/// Which pod, and where it says whether it takes calls.
pub(super) struct At<'a> {
    pub(super) key: &'a Key,
    pub(super) pod: &'a str,
    pub(super) path: &'a str,
}

/// The task that asks a pod; it ends when this is dropped.
pub(super) struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of a question.
enum Answer {
    Ready,
    /// It answers, and says that it is not ready.
    Status(u16),
    Silence,
}

impl Core {
    /// Sees to it that a pod is asked while that is worth it.
    pub(super) fn attend(self: &Arc<Self>, at: &At<'_>, member: &mut Member) {
        if !member.is_to_be_asked() {
            member.dial = None;
            return;
        }
        let Some(ip) = member.seen.ip.filter(|_| member.dial.is_none()) else { return };
        let dial = Dial {
            core: self.clone(),
            key: at.key.clone(),
            pod: at.pod.to_owned(),
            uid: member.seen.uid.clone(),
            run: member.seen.run.clone(),
            address: SocketAddr::new(ip, PORT),
            path: at.path.to_owned(),
        };
        member.dial = Some(Asking(self.spawn(dial.run())));
    }
}

impl Dial {
    async fn run(self) {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = self.ask().await;
            if matches!(answer, Answer::Ready) {
                return self.report(|member| member.has_answered = true);
            }
            if begin.elapsed() >= self.core.listen_timeout {
                // From here on only the kubelet asks.
                return self.complain(&answer);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn ask(&self) -> Answer {
        match timeout(ANSWER_TIMEOUT, status(self.address, &self.path)).await {
            Ok(Ok(200..=399)) => Answer::Ready,
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(_)) | Err(_) => Answer::Silence,
        }
    }

    fn complain(&self, answer: &Answer) {
        let seconds = self.core.listen_timeout.as_secs();
        let text = match answer {
            Answer::Status(status) => {
                format!("it answered GET {} with status {status} for {seconds} s", self.path)
            }
            _ => format!("it never listened on port {PORT} for {seconds} s"),
        };
        self.report(|member| {
            // What does not run yet cannot be blamed for its silence.
            if member.seen.is_running {
                member.silence = text;
            }
        });
    }

    fn report(&self, change: impl FnOnce(&mut Member)) {
        self.core.update(&self.key, |known| {
            let member = known.pods.get_mut(&self.pod);
            let same = |m: &&mut Member| m.seen.uid == self.uid && m.seen.run == self.run;
            if let Some(member) = member.filter(same) {
                change(member);
            }
        });
    }
}
