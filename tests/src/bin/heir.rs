//! A gateway that takes over and then hangs: it asks for everything at the socket that it is given,
//! says what it hears, and does nothing.

use std::io::{BufRead, BufReader, Error, Write};
use std::os::unix::net::UnixStream;

fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| Error::other("no socket was named"))?;
    let mut link = UnixStream::connect(path)?;
    link.write_all(b"release\n")?;
    for line in BufReader::new(link).lines() {
        println!("{}", line?);
    }
    Ok(())
}
