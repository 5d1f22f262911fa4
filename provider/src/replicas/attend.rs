//! Looking after a container that runs: whether it answers, from its start to its end.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep;

use super::core::Core;
use super::group::{Member, Stage};
use super::ready::Probe;
use super::seen::Phase;
use super::sockets::Watched;
use crate::confine::SOCKET;
use crate::probe::{FIRST_PAUSE, LAST_PAUSE};
use crate::{Address, Name};

/// Looks after one run of one container.
struct Attendant {
    core: Arc<Core>,
    name: Name,
    replica: String,
    /// Tells this run from the next one.
    started_at: String,
    probe: Probe,
    socket: Watched,
}

impl Core {
    /// Gives a container that runs somebody to look after it.
    pub(super) fn attend(self: &Arc<Self>, name: &Name, member: &mut Member) {
        let runs = matches!(member.seen.phase, Phase::Running | Phase::Paused);
        if !runs || member.stage != Stage::Active || member.attendant.is_some() {
            return;
        }
        let run = self.files.of(&member.seen.replica).run;
        // Without its socket our watchdog is starting or stopping, and somebody else may have the
        // container's address by now, when the engine did not tell that it ended.
        let ip = member.seen.ip.filter(|_| !member.has_socket);
        let attendant = Attendant {
            core: self.clone(),
            name: name.clone(),
            replica: member.seen.replica.clone(),
            started_at: member.seen.started_at.clone(),
            probe: Probe { socket: run.join(SOCKET), ip },
            socket: self.sockets.watch(&run),
        };
        member.attendant = Some(self.spawn(attendant.run()));
    }
}

impl Attendant {
    async fn run(mut self) {
        loop {
            let address = self.until_it_answers().await;
            self.report(Some(address.clone()));
            self.until_its_socket_is_gone(address).await;
            self.probe.ip = None;
            self.report(None);
        }
    }

    /// The kernel tells when the socket is there; only images without our watchdog are asked again
    /// and again.
    async fn until_it_answers(&self) -> Address {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            if let Some(address) = self.probe.ask().await {
                return address;
            }
            if !told && begin.elapsed() >= self.core.listen_timeout {
                told = true;
                self.complain();
            }
            tokio::select! {
                () = self.socket.changed.notified() => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Ends when a replica that answered on its socket has none any more.
    async fn until_its_socket_is_gone(&self, mut address: Address) {
        loop {
            self.socket.changed.notified().await;
            match (self.probe.ask_socket().await, &address) {
                (Some(socket), _) if socket != address => {
                    self.report(Some(socket.clone()));
                    address = socket;
                }
                (None, Address::Unix(_)) => return,
                _ => {}
            }
        }
    }

    fn report(&self, address: Option<Address>) {
        self.change(|member| {
            if address.is_some() {
                member.trouble.clear();
            }
            member.has_socket |= matches!(address, Some(Address::Unix(_)));
            member.address = address;
        });
    }

    fn complain(&self) {
        let seconds = self.core.listen_timeout.as_secs();
        let text = format!("it never listened on port 8080 nor on its socket for {seconds} s");
        self.change(|member| member.trouble = text);
    }

    fn change(&self, change: impl FnOnce(&mut Member)) {
        self.core.update(&self.name, |group| {
            let member = group.members.get_mut(&self.replica);
            if let Some(member) = member.filter(|m| m.seen.started_at == self.started_at) {
                change(member);
            }
        });
    }
}
