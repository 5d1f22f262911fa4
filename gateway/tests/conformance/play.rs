//! Plays a row and judges it.

use std::thread::sleep;
use std::time::Duration;

use crate::case::{Answer, Case, Field, Step, Wanted};
use crate::house::House;
use crate::upstream::{Seen, is_check};
use crate::wire::{Fault, Framing, Message, Wire, latin1};

type Result<T = (), E = String> = std::result::Result<T, E>;

/// Between two bytes of a client that drips them.
const DRIP: Duration = Duration::from_millis(20);

pub(crate) fn play(case: &Case) -> Result {
    let house = House::new(case);
    let mut wire = house.connect();
    let mut played = case.steps.iter().enumerate().try_for_each(|(index, step)| {
        take(step, &mut wire, &house).map_err(|error| format!("step {}: {error}", index + 1))
    });
    drop(wire);
    // Whatever happened, the next client is served, and gets its own answer.
    played = played.and(ask(&mut house.connect(), "/last"));
    let seen = house.end();
    let judged = played.and_then(|()| judge(&case.wanted, &seen));
    judged.map_err(|error| format!("{error}\n  the upstream saw {seen:#?}"))
}

fn take(step: &Step, wire: &mut Wire, house: &House) -> Result {
    match step {
        Step::Send(bytes) => {
            wire.send(bytes);
            Ok(())
        }
        Step::Drip(bytes) => {
            drip(wire, bytes);
            Ok(())
        }
        Step::Finish => {
            wire.finish();
            Ok(())
        }
        Step::Arrived(requests) => house.upstream.arrived(*requests),
        Step::Hear(answer) => hear(wire, answer),
        Step::Raw(bytes) => {
            let got = wire.take(bytes.len()).map_err(|fault| format!("no bytes: {fault:?}"))?;
            same("bytes", &latin1(&got), &latin1(bytes))
        }
        Step::Kept => ask(wire, "/kept"),
        Step::Closed => closed(wire),
        Step::KeptOrClosed => match ask(wire, "/kept") {
            Err(error) if error.ends_with(ENDED) => Ok(()),
            other => other,
        },
    }
}

fn drip(wire: &mut Wire, bytes: &[u8]) {
    for byte in bytes {
        if !wire.send(&[*byte]) {
            return;
        }
        sleep(DRIP);
    }
}

/// What there is to say of a connection that ends in the place of an answer.
const ENDED: &str = "the connection ended instead of an answer";

/// Asks for a path of the function, which is answered with that path.
fn ask(wire: &mut Wire, path: &str) -> Result {
    wire.send(crate::case::get_path(path).as_bytes());
    let message = next(wire, &Answer::default())?.ok_or(ENDED)?;
    match (message.status(), latin1(&message.body)) {
        (Ok(200), body) if body == path => Ok(()),
        _ => Err(format!("{path} was answered with {message:?}")),
    }
}

/// The next answer, provisional ones left out unless one is expected.
fn next(wire: &mut Wire, expected: &Answer) -> Result<Option<Message>> {
    loop {
        let head = wire.head().map_err(|fault| format!("the answer's head: {fault:?}"))?;
        let Some(mut message) = head else { return Ok(None) };
        let status = message.status().map_err(|fault| format!("{fault:?}"))?;
        let bodiless = matches!(status, 100..=199 | 204);
        let framing = message.framing(Framing::Close).map_err(|fault| format!("{fault:?}"))?;
        if bodiless && framing != Framing::Close {
            return Err(format!("{status} says that it has a body: {message:?}"));
        }
        let provisional = matches!(status, 100 | 102..=199);
        if provisional && !expected.strictly && !expected.statuses.contains(&status) {
            continue;
        }
        let framing = match bodiless || status == 304 || expected.to_head {
            true => Framing::None,
            false => framing,
        };
        return match (wire.body(&mut message, framing), expected.cut) {
            (Ok(()), false) => Ok(Some(message)),
            (Ok(()), true) => Err(format!("half an answer looks whole: {message:?}")),
            (Err(Fault::Cut), true) => Ok(Some(message)),
            (Err(fault), _) => Err(format!("the answer's body: {fault:?} in {message:?}")),
        };
    }
}

fn hear(wire: &mut Wire, expected: &Answer) -> Result {
    let message = match next(wire, expected)? {
        Some(message) => message,
        None if expected.cut || expected.optional => return Ok(()),
        None => return Err(ENDED.to_owned()),
    };
    let status = message.status().unwrap_or(0);
    if !expected.statuses.contains(&status) {
        return Err(format!("expected {:?}, got {message:?}", expected.statuses));
    }
    if message.line.starts_with("HTTP/1.0") && !expected.old && !expected.refusal {
        return Err(format!("an answer in a version of another hop: {message:?}"));
    }
    if expected.refusal {
        let close = message.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if !close || message.header("x-faas-error").is_none() {
            return Err(format!("a refusal says `Connection: close` and why: {message:?}"));
        }
    }
    compare(&message, &expected.fields, (expected.body.as_deref(), expected.trailer))
}

fn closed(wire: &mut Wire) -> Result {
    let rest = wire.rest().map_err(|fault| format!("the connection stays: {fault:?}"))?;
    match rest.is_empty() {
        true => Ok(()),
        false => Err(format!("there is more: {:?}", latin1(&rest))),
    }
}

type Rest<'a> = (Option<&'a [u8]>, Option<(&'static str, &'static str)>);

fn compare(message: &Message, fields: &[Field], (body, trailer): Rest<'_>) -> Result {
    for (name, value) in fields {
        let got = message.header(name);
        if got != *value {
            return Err(format!("{name}: expected {value:?}, got {got:?} in {message:?}"));
        }
    }
    if let Some(body) = body {
        same("body", &latin1(&message.body), &latin1(body))?;
    }
    let is_there = |(name, value): (&str, &str)| {
        message.trailers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
    };
    match trailer {
        Some(trailer) if !is_there(trailer) => {
            Err(format!("no trailer {trailer:?} in {message:?}"))
        }
        _ => Ok(()),
    }
}

fn same(what: &str, got: &str, expected: &str) -> Result {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, got {got:?}")),
    }
}

/// Whether the upstream got what it was to get, and nothing else.
fn judge(wanted: &[Wanted], seen: &[Seen]) -> Result {
    let mut seen =
        seen.iter().filter(|seen| !matches!(seen, Seen::Whole(m) if is_check(m))).peekable();
    for wanted in wanted {
        if wanted.cut {
            seen.next_if(|seen| matches!(seen, Seen::Cut(_)) || wanted.or_whole);
            continue;
        }
        let message = match seen.next() {
            Some(Seen::Whole(message)) => message,
            Some(Seen::Cut(message)) => {
                return Err(format!("the upstream got a part: {message:?}"));
            }
            Some(Seen::Malformed(reason)) => return Err(format!("the upstream got {reason}")),
            None => return Err(format!("the upstream got no {:?}", wanted.line)),
        };
        same("request line", &message.line, &wanted.line)?;
        compare(message, &wanted.fields, (wanted.body.as_deref(), wanted.trailer))?;
    }
    match seen.next() {
        None => Ok(()),
        Some(more) => Err(format!("the upstream got more than it was to get: {more:?}")),
    }
}
