//! The function that the contract suite deploys: a program without dependencies, built static by
//! the suite itself. What it does is told by its environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::Duration;

fn main() {
    let version = var("VERSION");
    println!("hello from {version}");
    eprintln!("errors of {version}");
    match var("MODE").as_str() {
        "crash" => {
            println!("cannot find the config");
            std::process::exit(3);
        }
        "hog" => hog(),
        "deaf" => loop {
            sleep(Duration::from_secs(3600));
        },
        _ => serve(),
    }
}

fn var(key: &str) -> String {
    std::env::var(key).unwrap_or_default()
}

/// Touches memory until it is killed.
fn hog() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 1 << 20]);
        std::hint::black_box(&all);
    }
}

fn serve() {
    while !var("WAIT_FOR").is_empty() && !Path::new(&var("WAIT_FOR")).exists() {
        sleep(Duration::from_millis(20));
    }
    if !var("WAIT_AT").is_empty() {
        // Whoever listens there says when by hanging up.
        let mut gate = TcpStream::connect(var("WAIT_AT")).expect("somebody at the gate");
        let _opened = gate.read(&mut [0]);
    }
    if let Some(socket) = var("upstream_url").strip_prefix("unix:") {
        // Behind the watchdog, which takes the calls, and writes a line about each.
        thread::spawn(say_what_is_given);
        return accept(&UnixListener::bind(socket).expect("bind the socket"));
    }
    if var("SOCKET") == "1" {
        let socket = var("listen_socket");
        let unfinished = format!("{socket}.new");
        let _absent = std::fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished).expect("bind the socket");
        std::fs::rename(&unfinished, &socket).expect("rename the socket");
        thread::spawn(move || accept(&listener));
    }
    let listener = TcpListener::bind(("0.0.0.0", 8080)).expect("bind the port");
    for stream in listener.incoming().flatten() {
        let reader = stream.try_clone().expect("clone");
        thread::spawn(move || answer(reader, stream));
    }
}

/// Prints what is put into a file in the folder that is shared with the gateway.
fn say_what_is_given() {
    let file = Path::new(&var("listen_socket")).with_file_name("say");
    loop {
        if let Ok(text) = std::fs::read_to_string(&file) {
            std::fs::remove_file(&file).expect("remove what was said");
            println!("{text}");
        }
        sleep(Duration::from_millis(5));
    }
}

fn accept(listener: &UnixListener) {
    for stream in listener.incoming().flatten() {
        let reader = stream.try_clone().expect("clone");
        thread::spawn(move || answer(reader, stream));
    }
}

fn answer(reader: impl Read, mut writer: impl Write) {
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = act(path);
    let _gone = write!(
        writer,
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn act(path: &str) -> String {
    if let Some(text) = path.strip_prefix("/say/") {
        println!("{text}");
    }
    if let Some(file) = path.strip_prefix("/read") {
        return std::fs::read_to_string(file).unwrap_or_else(|e| e.to_string());
    }
    if let Some(file) = path.strip_prefix("/write") {
        return std::fs::write(file, "x").map_or_else(|e| e.to_string(), |()| "written".to_owned());
    }
    if path == "/exit" {
        std::process::exit(7);
    }
    if path == "/hide" {
        let _absent = std::fs::remove_file(var("listen_socket"));
    }
    var("VERSION")
}
