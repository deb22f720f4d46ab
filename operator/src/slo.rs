//! Judges StreamSLOs: samples the replicas of their pipelines and writes what the counts say.
