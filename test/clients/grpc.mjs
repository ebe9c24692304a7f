// gRPC by @grpc/grpc-js: "grpc.mjs serve PORT" and "grpc.mjs call TARGET". Messages are bytes, so that no compiler is
// needed. Each call is a line of JSON as the story compares them; its status is that of gRPC.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const grpc = createRequire(process.env.NODE_PATH + "/")("@grpc/grpc-js");
const same = (b) => b;
const method = (name, requestStream, responseStream) => ({
  path: `/clients.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const service = {
  Unary: method("Unary", false, false), Server: method("Server", false, true),
  Client: method("Client", true, false), Both: method("Both", true, true), Fail: method("Fail", false, true),
};
const sum = (b) => createHash("sha256").update(b).digest("hex");

function serve(port) {
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(service, {
    Unary(call, done) {
      const trailer = new grpc.Metadata();
      trailer.set("x-trailer", "behind");
      trailer.set("x-data-bin", Buffer.from([0, 1, 255]));
      const told = call.metadata.get("x-told");
      if (told.length) {
        const head = new grpc.Metadata();
        head.set("x-heard", told.join());
        call.sendMetadata(head);
      }
      if (call.metadata.get("x-wait").length) {
        call.on("cancelled", () => done({ code: grpc.status.CANCELLED }));
        return; // until the deadline
      }
      done(null, call.request, trailer);
    },
    async Server(call) {
      const count = Number(call.request.toString());
      for (let i = 0; i < count; i++) {
        if (!call.write(Buffer.alloc(1000 + i, i))) await new Promise((go) => call.once("drain", go));
      }
      call.end();
    },
    Client(call, done) {
      const all = [];
      call.on("data", (b) => all.push(b));
      call.on("end", () => done(null, Buffer.from(`${all.length} ${sum(Buffer.concat(all))}`)));
    },
    Both(call) {
      call.on("data", (b) => call.write(b));
      call.on("end", () => call.end());
    },
    Fail(call) {
      call.write(Buffer.from("one"));
      const metadata = new grpc.Metadata();
      metadata.set("x-why", "because");
      call.emit("error", { code: grpc.status.FAILED_PRECONDITION, details: "not today: é", metadata });
    },
  });
  server.bindAsync(`0.0.0.0:${port}`, grpc.ServerCredentials.createInsecure(), (err) => {
    if (err) throw err;
  });
  process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
}

async function calls(target) {
  const Client = grpc.makeGenericClientConstructor(service, "Echo");
  const client = new Client(target, grpc.credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
  const kept = (metadata) => Object.fromEntries(Object.entries(metadata?.toJSON() ?? {}).filter(([k]) => k.startsWith("x-")));
  // What is said of a deadline has times in it, and is not compared.
  const tell = (Name, status, body, head) => {
    const Header = {};
    for (const [k, v] of Object.entries({ ...kept(head), ...kept(status.metadata) })) Header[k] = v.map((x) => x.toString("latin1"));
    if (status.details && status.code !== grpc.status.DEADLINE_EXCEEDED) Header.details = [status.details];
    console.log(JSON.stringify({ Name, Status: status.code, Header, Body: body }));
  };
  const unary = (name, message, metadata = new grpc.Metadata(), options = {}) =>
    new Promise((done) => {
      let reply, head;
      const call = client.Unary(message, metadata, options, (_err, answer) => (reply = answer));
      call.on("metadata", (m) => (head = m));
      call.on("status", (s) => setImmediate(() => (tell(name, s, reply ? `${reply.length} ${sum(reply)}` : "", head), done())));
    });
  const streamed = (name, call) =>
    new Promise((done) => {
      const got = [];
      let head;
      call.on("data", (b) => got.push(b));
      call.on("metadata", (m) => (head = m));
      call.on("error", () => {});
      call.on("status", (s) => (tell(name, s, `${got.length} ${sum(Buffer.concat(got))}`, head), done()));
    });
  const told = new grpc.Metadata();
  told.set("x-told", "this");
  const wait = new grpc.Metadata();
  wait.set("x-wait", "1");
  await unary("unary", Buffer.from("hello"));
  await unary("unary-metadata", Buffer.from("hello"), told);
  await unary("unary-empty", Buffer.alloc(0));
  await unary("unary-big", Buffer.alloc(8 << 20, "big"));
  await streamed("server-stream", client.Server(Buffer.from("2000")));
  await streamed("failed-stream", client.Fail(Buffer.alloc(0)));
  await new Promise((done) => {
    let reply;
    const call = client.Client((_err, answer) => (reply = answer));
    call.on("status", (s) => setImmediate(() => (tell("client-stream", s, reply?.toString() ?? ""), done())));
    for (let i = 0; i < 500; i++) call.write(Buffer.alloc(i * 3, i));
    call.end();
  });
  const both = client.Both();
  const echoed = streamed("both-streams", both);
  for (let i = 0; i < 500; i++) both.write(Buffer.alloc(i * 3, i));
  both.end();
  await echoed;
  const left = client.Both();
  left.write(Buffer.from("one"));
  left.once("data", () => left.cancel());
  await streamed("cancelled", left);
  await unary("deadline", Buffer.from("hello"), wait, { deadline: Date.now() + 500 });
  await new Promise((done) => {
    client.makeUnaryRequest("/clients.Echo/Unknown", same, same, Buffer.alloc(0), (err) => (tell("unknown-method", err, ""), done()));
  });
  client.close();
}

await (process.argv[2] === "serve" ? serve : calls)(process.argv[3]);
