package quorate;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.util.Collections;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;

import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/**
 * One Tomcat with two connectors of AJP, the second with the
 * secret that is its argument, and large packets.
 * It prints "listening PORT PORT", and ends when its standard input does.
 */
public final class Ajp {
    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("quorate-ajp").toString());
        Connector open = connector();
        open.setProperty("secretRequired", "false");
        Connector closed = connector();
        closed.setProperty("secret", args[0]);
        closed.setProperty("packetSize", "65536");
        tomcat.setConnector(open);
        tomcat.getService().addConnector(closed);
        Context context = tomcat.addContext("", new File(".").getAbsolutePath());
        Tomcat.addServlet(context, "all", new All());
        context.addServletMappingDecoded("/*", "all");
        tomcat.start();
        System.out.println("listening " + open.getLocalPort() + " " + closed.getLocalPort());
        while (System.in.read() >= 0) {
        }
        tomcat.stop();
        System.exit(0);
    }

    private static Connector connector() {
        Connector c = new Connector("AJP/1.3");
        c.setPort(0);
        c.setProperty("address", "127.0.0.1");
        return c;
    }

    private static final class All extends HttpServlet {
        @Override
        protected void service(HttpServletRequest q, HttpServletResponse a) throws IOException {
            switch (q.getPathInfo()) {
                case "/echo" -> {
                    a.setHeader("X-Length", String.valueOf(q.getContentLengthLong()));
                    q.getInputStream().transferTo(a.getOutputStream());
                }
                case "/form" -> a.getOutputStream().print(q.getParameter("a") + "|" + q.getParameter("b"));
                case "/refuse" -> {
                    a.setStatus(413);
                    a.getOutputStream().print("too much");
                }
                case "/some" -> { // reads a part of the body, and answers
                    byte[] b = q.getInputStream().readNBytes(10);
                    a.getOutputStream().write(b);
                }
                case "/bytes" -> {
                    int n = Integer.parseInt(q.getParameter("n"));
                    if (q.getParameter("length") != null) {
                        a.setContentLength(n);
                    }
                    byte[] b = new byte[8192];
                    for (int i = 0; i < b.length; i++) {
                        b[i] = (byte) ('a' + i % 26);
                    }
                    for (OutputStream out = a.getOutputStream(); n > 0; n -= Math.min(n, b.length)) {
                        out.write(b, 0, Math.min(n, b.length));
                    }
                }
                case "/status" -> { // with a body, whether it may have one or not
                    a.setStatus(Integer.parseInt(q.getParameter("of")));
                    a.setHeader("ETag", "\"1\"");
                    a.getOutputStream().print("not for all");
                }
                case "/stream" -> {
                    a.setContentType("text/event-stream");
                    for (int i = 0; i < 3; i++) {
                        a.getOutputStream().print("data: " + i + "\n\n");
                        a.flushBuffer();
                        if (i < 2) {
                            q.getInputStream().read(); // the client's turn
                        }
                    }
                }
                case "/cookies" -> {
                    for (int i = 0; i < Integer.parseInt(q.getParameter("n")); i++) {
                        a.addHeader("Set-Cookie", "c" + i + "=" + "x".repeat(100));
                    }
                }
                case "/break" -> {
                    a.getOutputStream().print("half");
                    a.flushBuffer();
                    throw new IOException("as asked");
                }
                case "/wait" -> {
                    InputStream in = q.getInputStream();
                    while (in.read() >= 0) {
                    }
                }
                default -> facts(q, a);
            }
        }

        private static void facts(HttpServletRequest q, HttpServletResponse a) throws IOException {
            StringBuilder s = new StringBuilder();
            line(s, "method", q.getMethod());
            line(s, "uri", q.getRequestURI());
            line(s, "path", q.getPathInfo());
            line(s, "query", q.getQueryString());
            line(s, "protocol", q.getProtocol());
            line(s, "scheme", q.getScheme());
            line(s, "secure", String.valueOf(q.isSecure()));
            line(s, "remote", q.getRemoteAddr() + " " + q.getRemotePort());
            line(s, "server", q.getServerName() + " " + q.getServerPort());
            line(s, "local", q.getLocalAddr() + " " + q.getLocalPort());
            line(s, "cipher", String.valueOf(q.getAttribute("jakarta.servlet.request.cipher_suite")));
            line(s, "bits", String.valueOf(q.getAttribute("jakarta.servlet.request.key_size")));
            line(s, "tls", String.valueOf(q.getAttribute("org.apache.tomcat.util.net.secure_protocol_version")));
            line(s, "session", q.getRequestedSessionId());
            for (String name : Collections.list(q.getHeaderNames())) {
                for (String v : Collections.list(q.getHeaders(name))) {
                    line(s, "h " + name.toLowerCase(), v);
                }
            }
            a.setContentType("text/plain;charset=UTF-8");
            a.getOutputStream().write(s.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
        }

        private static void line(StringBuilder s, String name, String value) {
            s.append(name).append(": ").append(value).append('\n');
        }
    }
}
