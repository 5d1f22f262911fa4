//! Files of a directory (contract 5.7).

use std::io::{self, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue,
    IF_MODIFIED_SINCE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use relay::Body;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

use crate::answer;
use crate::cgi::percent_decode;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Content types by the end of a file's name.
const TYPES: [(&str, &str); 22] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("xml", "text/xml; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
];

/// Serves the files of one directory. There are no listings: a directory without `index.html` is
/// not found.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

/// A file that was found.
struct Found {
    file: File,
    size: u64,
    modified: SystemTime,
    content_type: &'static str,
}

impl Files {
    /// The files below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Answers with a file.
    pub async fn call<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refusal = answer::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let path = request.uri().path();
        let Some(relative) = relative(path) else { return not_found() };
        let full = self.root.join(&relative);
        let is_dir = tokio::fs::metadata(&full).await.is_ok_and(|found| found.is_dir());
        if is_dir && !path.ends_with('/') {
            return moved(path, request.uri().query());
        }
        let full = if is_dir { full.join("index.html") } else { full };
        match open(&full).await {
            Ok(found) => respond(found, request.headers()).await,
            Err(_) => not_found(),
        }
    }
}

/// The file's path below the root; `None` for one that would lead out of it.
fn relative(path: &str) -> Option<PathBuf> {
    let decoded = percent_decode(path).filter(|path| !path.contains(&0))?;
    let decoded = PathBuf::from(std::ffi::OsString::from_vec(decoded));
    let mut relative = PathBuf::new();
    for component in decoded.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::RootDir | Component::CurDir => (),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(relative)
}

async fn open(path: &Path) -> io::Result<Found> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    let known = TYPES.iter().find(|(end, _)| end.eq_ignore_ascii_case(extension));
    Ok(Found {
        file,
        size: metadata.len(),
        modified: metadata.modified()?,
        content_type: known.map_or("application/octet-stream", |(_, kind)| kind),
    })
}

async fn respond(found: Found, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let modified = httpdate::fmt_http_date(found.modified);
    if let Ok(modified) = HeaderValue::from_str(&modified) {
        headers.insert(LAST_MODIFIED, modified);
    }
    if is_unchanged(found.modified, asked) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.content_type));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let range = asked.get(RANGE).and_then(|range| parse_range(range.to_str().ok()?, found.size));
    let (first, length) = match range {
        None => (0, found.size),
        Some(Some((first, last))) => {
            let content_range = format!("bytes {first}-{last}/{}", found.size);
            insert(headers, CONTENT_RANGE, &content_range);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (first, last - first + 1)
        }
        Some(None) => {
            insert(headers, CONTENT_RANGE, &format!("bytes */{}", found.size));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    let mut file = found.file;
    if first > 0 && file.seek(SeekFrom::Start(first)).await.is_err() {
        return not_found();
    }
    response.map(|_| Body::boxed(Part { file, left: length, buffer: BytesMut::new() }))
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Dates in HTTP have whole seconds.
fn is_unchanged(modified: SystemTime, asked: &HeaderMap) -> bool {
    let since = asked
        .get(IF_MODIFIED_SINCE)
        .and_then(|since| httpdate::parse_http_date(since.to_str().ok()?).ok());
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map(|d| d.as_secs());
    since.is_some_and(|since| seconds(modified).ok() <= seconds(since).ok())
}

/// First and last byte of a single range; `Some(None)` when the file has no such bytes, `None`
/// when the header is to be ignored.
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((count > 0 && size > 0).then(|| (size.saturating_sub(count), size - 1)));
    }
    let first: u64 = first.parse().ok()?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.min(size - 1))))
}

fn not_found() -> Response<Body> {
    answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A directory's own links are relative to a path that ends with a slash.
fn moved(path: &str, query: Option<&str>) -> Response<Body> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut response = answer::text(StatusCode::MOVED_PERMANENTLY, "");
    // Relative, because a gateway has taken away the front of the path.
    insert(response.headers_mut(), LOCATION, &format!("./{name}/{query}"));
    response
}

/// A part of a file as a body.
struct Part {
    file: File,
    left: u64,
    buffer: BytesMut,
}

impl http_body::Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let want = this.left.min(CHUNK as u64) as usize;
        this.buffer.resize(want, 0);
        let mut buffer = ReadBuf::new(&mut this.buffer);
        std::task::ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left -= read as u64;
        Poll::Ready(Some(Ok(Frame::data(this.buffer.split_to(read).freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_out_of_the_root() {
        assert_eq!(relative("/a/./b%20c"), Some("a/b c".into()));
        assert_eq!(relative("//a"), Some("a".into()));
        for path in ["/../a", "/a/../../b", "/%2e%2e/a", "/a%00", "/%zz", "/a/%2e%2e%2f%2e%2e/b"] {
            assert_eq!(relative(path), None, "{path}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-4", 10), Some(Some((0, 4))));
        assert_eq!(parse_range("bytes=5-", 10), Some(Some((5, 9))));
        assert_eq!(parse_range("bytes=-3", 10), Some(Some((7, 9))));
        assert_eq!(parse_range("bytes=-30", 10), Some(Some((0, 9))));
        assert_eq!(parse_range("bytes=10-", 10), Some(None));
        assert_eq!(parse_range("bytes=-0", 10), Some(None));
        for odd in ["bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=1"] {
            assert_eq!(parse_range(odd, 10), None, "{odd}");
        }
    }
}
