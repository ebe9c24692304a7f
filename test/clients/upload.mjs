// upload.mjs URL FILE: sends a file by PUT over HTTP/2 with prior knowledge, and ends with 0 for a 2xx and 22 for another answer, as curl -f does.
// curl 7.88 cannot do it: now and then it sends a piece of a long body twice, which a server refuses by 400.
import { createReadStream, statSync } from "node:fs";
import { connect } from "node:http2";
import { pipeline } from "node:stream";

const [, , address, file] = process.argv;
const url = new URL(address);
const session = connect(url.origin);
const fail = (why) => {
  console.error(String(why));
  process.exitCode = 1;
  session.destroy();
};
session.on("error", fail);
const request = session.request({ ":method": "PUT", ":path": url.pathname, "content-length": statSync(file).size });
process.exitCode = 52; // until there is an answer
request.on("response", (head) => {
  process.exitCode = head[":status"] >= 200 && head[":status"] < 300 ? 0 : 22;
});
request.on("close", () => session.close());
request.resume();
pipeline(createReadStream(file), request, (err) => err && fail(err));
