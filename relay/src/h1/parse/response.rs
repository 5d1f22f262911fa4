//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::fields::Fields;
use super::{Fault, Framing, MAX_HEADERS};

/// An answer without its body.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the connection can carry another request.
    pub(crate) keep_alive: bool,
}

/// Reads a whole head, including the empty line at its end; `asked` is the request's method.
pub(crate) fn response(head: &Bytes, asked: &Method) -> Result<ResponseHead, Fault> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        head,
        &mut lines,
    )?;
    let (httparse::Status::Complete(_), Some(code), Some(version)) =
        (status, parsed.code, parsed.version)
    else {
        return Err(Fault::bad("the head does not end"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Fault::bad("there is no proper status"))?;
    let is_1_1 = version == 1;
    let fields = Fields::read(parsed.headers, head)?;
    let framing = framing(&fields, is_1_1, (status, asked))?;
    Ok(ResponseHead {
        status,
        framing,
        keep_alive: framing != Framing::UntilClose && fields.stays_open(is_1_1),
        headers: fields.headers,
    })
}

fn framing(
    fields: &Fields,
    is_1_1: bool,
    (status, asked): (StatusCode, &Method),
) -> Result<Framing, Fault> {
    if fields.chunked && fields.length.is_some() {
        return Err(Fault::bad("it has both Content-Length and Transfer-Encoding"));
    }
    if fields.other_coding || (fields.chunked && !is_1_1) {
        return Err(Fault::bad("it has a transfer coding that is not supported"));
    }
    let never = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match fields.length {
        _ if never || asked == Method::HEAD => Framing::Empty,
        _ if fields.chunked => Framing::Chunked,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str, asked: &Method) -> Result<(u16, Framing, bool), Fault> {
        let head = response(&Bytes::copy_from_slice(head.as_bytes()), asked)?;
        Ok((head.status.as_u16(), head.framing, head.keep_alive))
    }

    #[test]
    fn bodies_are_framed_as_the_head_says() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, Framing::Length(5), true)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                (200, Framing::Chunked, true),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", (200, Framing::UntilClose, false)),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, Framing::Empty, true)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", (200, Framing::Empty, false)),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                (200, Framing::Length(1), true),
            ),
            ("HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", (204, Framing::Empty, true)),
            ("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", (304, Framing::Empty, true)),
            ("HTTP/1.1 100 Continue\r\n\r\n", (100, Framing::Empty, true)),
            (
                "HTTP/1.1 999 \r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
                (999, Framing::Length(1), false),
            ),
        ] {
            assert_eq!(read(head, &Method::GET), Ok(expected), "{head:?}");
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(head, &Method::HEAD), Ok((200, Framing::Empty, true)));
    }

    #[test]
    fn ambiguous_answers_are_no_answers() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTX/1.1 200 OK\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(read(head, &Method::GET).is_err(), "{head:?}");
        }
    }
}
