//! Backend for Kubernetes: a function is a Deployment and a Service.
