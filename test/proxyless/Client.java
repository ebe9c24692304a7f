import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.xds.XdsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A gRPC app in Java: Client TARGET ADDRESS. See main.go, whose client it is the same as. */
public final class Client {
  private static final Metadata.Key<String> BACKEND = Metadata.Key.of("x-backend", Metadata.ASCII_STRING_MARSHALLER);

  private static final MethodDescriptor<byte[], byte[]> CHECK = MethodDescriptor.<byte[], byte[]>newBuilder()
      .setType(MethodDescriptor.MethodType.UNARY).setFullMethodName("grpc.health.v1.Health/Check")
      .setRequestMarshaller(new Bytes()).setResponseMarshaller(new Bytes()).build();

  /** Leaves messages as they are. */
  private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
    @Override public InputStream stream(byte[] b) {
      return new ByteArrayInputStream(b);
    }

    @Override public byte[] parse(InputStream in) {
      try {
        return in.readAllBytes();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** Notes who has answered one call. */
  private static final class Named implements ClientInterceptor {
    private volatile String name = "unnamed";

    @Override public <A, B> ClientCall<A, B> interceptCall(MethodDescriptor<A, B> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override public void start(Listener<B> to, Metadata sent) {
          super.start(new SimpleForwardingClientCallListener<>(to) {
            @Override public void onHeaders(Metadata got) {
              if (got.containsKey(BACKEND)) {
                name = got.get(BACKEND);
              }
              super.onHeaders(got);
            }
          }, sent);
        }
      };
    }
  }

  /** What /call answers. */
  private static final class Report {
    private final Map<String, Integer> answered = new TreeMap<>();
    private int failed;
    private String error = "";

    private synchronized void answer(String name) {
      answered.merge(name, 1, Integer::sum);
    }

    private synchronized void fail(StatusRuntimeException e) {
      failed++;
      error = e.getMessage();
    }

    private synchronized String json() {
      String names = answered.entrySet().stream().map(e -> quote(e.getKey()) + ":" + e.getValue()).collect(Collectors.joining(","));
      return "{\"answered\":{" + names + "},\"failed\":" + failed + ",\"error\":" + quote(error) + "}";
    }
  }

  private static String quote(String s) {
    String plain = s.codePoints().mapToObj(c -> c < ' ' ? " " : Character.toString(c)).collect(Collectors.joining());
    return '"' + plain.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }

  private final Channel channel;

  private Client(String target) {
    channel = Grpc.newChannelBuilder(target, XdsChannelCredentials.create(InsecureChannelCredentials.create())).build();
  }

  private String once() {
    Named named = new Named();
    ClientCalls.blockingUnaryCall(ClientInterceptors.intercept(channel, named), CHECK,
        CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS), new byte[0]);
    return named.name;
  }

  private String many(int n, int workers) throws InterruptedException {
    Report report = new Report();
    Thread[] threads = new Thread[workers];
    for (int i = 0; i < workers; i++) {
      int count = n / workers + (i < n % workers ? 1 : 0);
      threads[i] = new Thread(() -> {
        for (int left = count; left > 0; left--) {
          try {
            report.answer(once());
          } catch (StatusRuntimeException e) {
            report.fail(e);
          }
        }
      });
      threads[i].start();
    }
    for (Thread t : threads) {
      t.join();
    }
    return report.json();
  }

  private String until(String name, int run) {
    for (int got = 0; got < run;) {
      try {
        got = once().equals(name) ? got + 1 : 0;
      } catch (StatusRuntimeException e) {
        got = 0;
      }
    }
    return "{}";
  }

  private void serve(HttpExchange exchange) throws IOException {
    try (exchange) {
      Map<String, String> q = Stream.of(exchange.getRequestURI().getQuery().split("&")).map(s -> s.split("=", 2))
          .collect(Collectors.toMap(s -> s[0], s -> s[1]));
      String out = exchange.getRequestURI().getPath().equals("/until")
          ? until(q.get("name"), Integer.parseInt(q.get("run")))
          : many(Integer.parseInt(q.get("n")), Integer.parseInt(q.getOrDefault("c", "1")));
      byte[] raw = out.getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(200, raw.length);
      exchange.getResponseBody().write(raw);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Runs the app. */
  public static void main(String[] args) throws IOException {
    Client client = new Client(args[0]);
    int colon = args[1].lastIndexOf(':');
    HttpServer server = HttpServer.create(
        new InetSocketAddress(args[1].substring(0, colon), Integer.parseInt(args[1].substring(colon + 1))), 0);
    server.createContext("/", client::serve);
    server.setExecutor(Executors.newCachedThreadPool());
    server.start();
  }
}
