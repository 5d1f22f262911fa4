//! Gateways that speak TLS with a certificate of one's own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::run::Home;

/// A gateway without functions: its URL, and its authority's certificate.
fn gateway() -> (String, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(connection, stream));
        }
    });
    (format!("https://localhost:{port}"), authority.pem())
}

/// Answers one request that has no body.
fn answer(mut stream: impl Read + Write) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // A client that does not trust the certificate says nothing more.
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]");
    let _ = stream.flush();
}

#[test]
fn an_authority_of_ones_own_is_named_by_flag_or_variable() {
    let (url, authority) = gateway();
    let home = Home::new(&url).file("ca.pem", &authority).file("bad.pem", "nonsense");
    let untrusted = home.run("list");
    untrusted.bad(1, &["the TLS certificate of https://localhost:", "is not trusted", "--tls-ca"]);
    for line in ["list --tls-ca ca.pem", "list --tls-no-verify"] {
        let run = home.run(line);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}");
    }
    home.run("list --tls-ca bad.pem").bad(2, &["bad.pem holds no PEM certificate", "FAAS_TLS_CA"]);
    home.run("list --tls-ca none.pem").bad(2, &["none.pem: No such file"]);
    let home = home.env("FAAS_TLS_CA", "ca.pem");
    assert_eq!(home.run("list").code, 0);
    home.run("list --tls-ca bad.pem").bad(2, &["bad.pem"]);
}
