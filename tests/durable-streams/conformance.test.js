// Runs the public conformance suite of Durable Streams against the server at WEIR_STREAMS_URL.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

const baseUrl = process.env.WEIR_STREAMS_URL;
if (!baseUrl) {
  throw new Error("set WEIR_STREAMS_URL to the streams of a pipeline, such as http://127.0.0.1:7070/orders/streams");
}
runConformanceTests({ baseUrl });
