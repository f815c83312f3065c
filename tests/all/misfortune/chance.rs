//! Experiments, clusters and misfortunes by chance.
