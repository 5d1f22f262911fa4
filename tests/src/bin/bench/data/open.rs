//! Open loop: requests are due at fixed times, whatever became of those before.
//!
//! A time is taken from when a request was due, not from when it could be sent, so that a server
//! that stalls does not hide it by being asked less ("coordinated omission").

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use system::raw;

/// Connections, each with a thread: whichever is free takes the next request that is due.
const CONNECTIONS: usize = 64;

/// Sends requests at a rate for a time; gives all latencies, sorted.
pub(crate) fn run(port: u16, path: &str, (rate, time): (f64, Duration)) -> Result<Vec<Duration>> {
    let total = (rate * time.as_secs_f64()) as u64;
    let next = AtomicU64::new(0);
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let streams = (0..CONNECTIONS).map(|_| connect(port, &request)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let worker = |mut stream: TcpStream| -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return Ok(took);
            }
            let due = start + Duration::from_secs_f64(number as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            exchange(&mut stream, &request)?;
            took.push(due.elapsed());
        }
    };
    let worker = &worker;
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || worker(stream))).collect();
        for worker in workers {
            all.extend(worker.join().ok().context("a worker of the generator failed")??);
        }
        anyhow::Ok(())
    })?;
    all.sort_unstable();
    Ok(all)
}

/// A connection that has carried a request.
fn connect(port: u16, request: &str) -> Result<TcpStream> {
    let mut stream = raw::connect(port)?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, request)?;
    Ok(stream)
}

/// Sends a request and reads its whole answer, which must be a good one.
pub(crate) fn exchange(stream: &mut TcpStream, request: &str) -> Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        ensure!(read > 0, "the answer broke off");
        filled += read;
        if let Some(length) = answer_length(&buffer[..filled])
            && filled >= length
        {
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "an answer was not 200");
            return Ok(());
        }
        ensure!(filled < buffer.len(), "the answer is too long");
    }
}

/// Head and body together, once the head is there.
fn answer_length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + length.unwrap_or(0))
}

/// The latency in microseconds that so many of a hundred stay within, of sorted ones.
pub(crate) fn percentile_us(sorted: &[Duration], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.max(1) - 1).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn times_count_from_when_a_request_was_due() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut streams = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut stream = listener.accept().unwrap().0;
                assert!(read(&mut stream) && reply(&mut stream));
                streams.push(stream);
            }
            // Nobody is answered before each connection has a request, the last of them 63 ms late.
            assert!(streams.iter_mut().all(read));
            for mut stream in streams {
                std::thread::spawn(move || while reply(&mut stream) && read(&mut stream) {});
            }
        });
        let times = run(port, "/", (1000.0, Duration::from_millis(400))).unwrap();
        assert_eq!(times.len(), 400);
        assert!(times[399] >= Duration::from_millis(63), "{:?}", times[399]);
        assert!(percentile_us(&times, 100.0) >= 63_000.0);
    }

    fn read(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0; 256]).is_ok_and(|read| read > 0)
    }

    fn reply(stream: &mut TcpStream) -> bool {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").is_ok()
    }

    #[test]
    fn an_answer_ends_with_its_body() {
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n"), None);
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"), Some(41));
    }
}
