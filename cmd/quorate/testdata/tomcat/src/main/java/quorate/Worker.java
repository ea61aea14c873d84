package quorate;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;

import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.jboss.modcluster.ModClusterService;
import org.jboss.modcluster.config.impl.ModClusterConfig;
import org.jboss.modcluster.load.impl.SimpleLoadBalanceFactorProvider;

/**
 * One Tomcat worker. Arguments: ROUTE PORT PERIOD_MS PROXY,PROXY,… CONTEXT,CONTEXT,… [KEEP_ALIVE_MS]
 * In place of the proxies, KEY@GROUP:PORT: those that advertise there, on the loopback interface.
 * It prints "listening PORT" once, then obeys lines on stdin: "undeploy /shop",
 * "deploy /shop", "load 50", "stop". The answer to each is "done LINE".
 */
public final class Worker {
    public static void main(String[] args) throws Exception {
        String route = args[0];
        long period = Long.parseLong(args[2]);

        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("quorate-tomcat").toString());
        Connector connector = new Connector("HTTP/1.1");
        connector.setPort(Integer.parseInt(args[1]));
        connector.setProperty("address", "127.0.0.1");
        if (args.length > 5) {
            connector.setProperty("keepAliveTimeout", args[5]);
        }
        tomcat.setConnector(connector);
        tomcat.getEngine().setJvmRoute(route);
        tomcat.getHost();

        ModClusterConfig config = new ModClusterConfig();
        int at = args[3].lastIndexOf('@');
        config.setAdvertise(at >= 0);
        if (at >= 0) {
            config.setAdvertiseSecurityKey(args[3].substring(0, at));
            config.setAdvertiseSocketAddress(address(args[3].substring(at + 1)));
            config.setAdvertiseInterface(NetworkInterface.getByInetAddress(InetAddress.getLoopbackAddress()));
        } else {
            List<InetSocketAddress> proxies = new ArrayList<>();
            for (String proxy : args[3].split(",")) {
                proxies.add(address(proxy));
            }
            config.setProxies(proxies);
        }
        SimpleLoadBalanceFactorProvider load = new SimpleLoadBalanceFactorProvider();
        load.setLoadBalanceFactor(100);
        ModClusterService service = new ModClusterService(config, load);

        for (String path : args[4].split(",")) {
            add(tomcat, path);
        }
        tomcat.start();
        Container server = new Container(tomcat);
        service.init(server);
        service.start(server);
        System.out.println("listening " + connector.getLocalPort());

        Thread status = new Thread(() -> cycle(service, server, period));
        status.setDaemon(true);
        status.start();

        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null && !line.equals("stop"); line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "deploy" -> {
                    add(tomcat, words[1]);
                    service.add(server.context(words[1]));
                    service.start(server.context(words[1]));
                }
                case "undeploy" -> {
                    Container.AppContext context = server.context(words[1]);
                    service.stop(context);
                    tomcat.getHost().removeChild(context.tomcat);
                    service.remove(context);
                    server.forget(words[1]);
                }
                case "load" -> load.setLoadBalanceFactor(Integer.parseInt(words[1]));
                default -> throw new IOException("no such command: " + line);
            }
            System.out.println("done " + line);
        }
        // The order of a graceful stop: contexts stop and go, then the node, then the connector.
        service.stop(server);
        service.shutdown();
        System.out.println("done stop");
        tomcat.stop();
        System.exit(0);
    }

    private static InetSocketAddress address(String hostAndPort) {
        int colon = hostAndPort.lastIndexOf(':');
        return new InetSocketAddress(hostAndPort.substring(0, colon), Integer.parseInt(hostAndPort.substring(colon + 1)));
    }

    private static void cycle(ModClusterService service, Container server, long period) {
        while (true) {
            service.status(server.engine);
            try {
                TimeUnit.MILLISECONDS.sleep(period);
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    private static void add(Tomcat tomcat, String path) {
        Context context = tomcat.addContext(path.equals("/") ? "" : path, new File(".").getAbsolutePath());
        Tomcat.addServlet(context, "app", new App(tomcat.getEngine().getJvmRoute()));
        context.addServletMappingDecoded("/*", "app");
    }

    /** Answers with what it saw: session, slow, drip, echo, once, headers. */
    private static final class App extends HttpServlet {
        private final String route;
        private final ConcurrentHashMap<String, Integer> arrived = new ConcurrentHashMap<>();

        App(String route) {
            this.route = route;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String path = request.getPathInfo() == null ? "/" : request.getPathInfo();
            response.setContentType("text/plain;charset=UTF-8");
            response.setHeader("X-Worker", route);
            if (path.startsWith("/session")) {
                HttpSession session = request.getSession(true);
                Integer count = (Integer) session.getAttribute("count");
                session.setAttribute("count", count == null ? 1 : count + 1);
                response.getWriter().printf("session %s count %s%n", session.getId(), session.getAttribute("count"));
            } else if (path.startsWith("/slow")) {
                try {
                    TimeUnit.MILLISECONDS.sleep(Long.parseLong(request.getParameter("ms")));
                } catch (InterruptedException e) {
                    throw new IOException(e);
                }
                response.getWriter().println("slow");
            } else if (path.startsWith("/drip")) {
                try {
                    for (int i = 0; i < 10; i++) {
                        response.getWriter().println("drip");
                        response.flushBuffer();
                        TimeUnit.MILLISECONDS.sleep(Long.parseLong(request.getParameter("ms")) / 10);
                    }
                } catch (InterruptedException e) {
                    throw new IOException(e);
                }
            } else if (path.startsWith("/echo")) {
                long length = request.getInputStream().transferTo(java.io.OutputStream.nullOutputStream());
                response.getWriter().println("bytes " + length);
            } else if (path.startsWith("/once")) {
                String body = new String(request.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                String id = request.getHeader("X-Id");
                response.getWriter().print(id + " " + arrived.merge(id, 1, Integer::sum) + " " + body);
            } else if (path.startsWith("/sum")) {
                response.getWriter().print(arrived.size() + " " + arrived.values().stream().mapToInt(Integer::intValue).sum());
            } else {
                response.getWriter().printf("uri %s%nremote %s%nproto %s%nhost %s%n", request.getRequestURI(),
                        request.getHeader("X-Forwarded-For"), request.getHeader("X-Forwarded-Proto"), request.getHeader("Host"));
            }
        }
    }
}
