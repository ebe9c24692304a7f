// A gRPC app in Node: client.js TARGET ADDRESS. See main.go, whose client it is the same as.
const http = require('node:http');
const grpc = require('@grpc/grpc-js');
const xds = require('@grpc/grpc-js-xds');

xds.register();

const [target, address] = process.argv.slice(2);
const channel = new grpc.Client(target, new xds.XdsChannelCredentials(grpc.credentials.createInsecure()));

const once = () => new Promise((resolve, reject) => {
  let name = 'unnamed';
  const call = channel.makeUnaryRequest('/grpc.health.v1.Health/Check', (b) => b, (b) => b, Buffer.alloc(0),
    { deadline: Date.now() + 20000 }, (err) => (err ? reject(err) : resolve(name)));
  call.on('metadata', (m) => { [name] = m.get('x-backend'); });
});

async function many(n, workers) {
  const out = { answered: {}, failed: 0, error: '' };
  await Promise.all(Array.from({ length: workers }, async (_, i) => {
    for (let left = Math.floor(n / workers) + (i < n % workers); left > 0; left -= 1) {
      try {
        const name = await once();
        out.answered[name] = (out.answered[name] || 0) + 1;
      } catch (err) {
        out.failed += 1;
        out.error = err.message;
      }
    }
  }));
  return out;
}

async function until(name, run) {
  for (let got = 0; got < run;) {
    got = (await once().catch(() => '')) === name ? got + 1 : 0;
  }
  return {};
}

const [host, port] = address.split(':');
http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://app');
  const q = (key) => url.searchParams.get(key);
  const out = url.pathname === '/until' ? await until(q('name'), Number(q('run'))) : await many(Number(q('n')), Number(q('c') || 1));
  res.end(JSON.stringify(out));
}).listen(Number(port), host);
