//! The yardstick: nginx as a plain reverse proxy to the same backend.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::guard::Running;

/// One worker a core, each with its own listener and kept connections to the backend; no log. What
/// nginx does not need for plain forwarding is left out, to its advantage.
const CONFIG: &str = "\
daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes auto;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path temp;
  proxy_temp_path temp;
  fastcgi_temp_path temp;
  uwsgi_temp_path temp;
  scgi_temp_path temp;
  keepalive_timeout 60s;
  keepalive_requests 1000000000;
  upstream backend {
    server 127.0.0.1:BACKEND;
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:LISTEN reuseport backlog=4096;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection \"\";
    }
  }
}
";

/// Starts it; `folder` is for its files.
pub(crate) fn start(folder: &Path, listen: u16, backend: u16) -> Result<Running> {
    let config =
        CONFIG.replace("LISTEN", &listen.to_string()).replace("BACKEND", &backend.to_string());
    std::fs::write(folder.join("nginx.conf"), config)?;
    Running::start(
        Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .args(["-e", "stderr"])
            .args(["-c", "nginx.conf"]),
    )
}
