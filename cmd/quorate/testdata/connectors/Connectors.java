package quorate;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

import jakarta.servlet.http.Cookie;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;

import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.util.ServerInfo;
import org.apache.catalina.valves.RemoteIpValve;
import org.apache.tomcat.util.net.SSLHostConfig;
import org.apache.tomcat.util.net.SSLHostConfigCertificate;

/**
 * Several Tomcats in one process, one for each argument ROUTE,KIND,SECRET: KIND is http, https or ajp. It prints
 * "listening VERSION PORT PORT ..." once, and ends with its stdin. The context of each is /ROUTE. The system properties
 * cert and key name the PEM files of https.
 */
public final class Connectors {
    public static void main(String[] args) throws Exception {
        StringBuilder ports = new StringBuilder();
        for (String arg : args) {
            String[] words = arg.split(",", -1);
            ports.append(' ').append(start(words[0], words[1], words[2]));
        }
        System.out.println("listening " + ServerInfo.getServerNumber() + ports);
        System.in.transferTo(OutputStream.nullOutputStream());
        System.exit(0);
    }

    private static int start(String route, String kind, String secret) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("quorate-tomcat").toString());
        Connector connector = new Connector(kind.equals("ajp") ? "AJP/1.3" : "HTTP/1.1");
        connector.setPort(0);
        connector.setProperty("address", "127.0.0.1");
        if (kind.equals("ajp")) {
            if (secret.isEmpty()) {
                connector.setProperty("secretRequired", "false");
            } else {
                connector.setProperty("secret", secret);
            }
        }
        if (kind.equals("https")) {
            connector.setProperty("SSLEnabled", "true");
            connector.setScheme("https");
            connector.setSecure(true);
            SSLHostConfig host = new SSLHostConfig();
            SSLHostConfigCertificate certificate = new SSLHostConfigCertificate(host, SSLHostConfigCertificate.Type.UNDEFINED);
            certificate.setCertificateFile(System.getProperty("cert"));
            certificate.setCertificateKeyFile(System.getProperty("key"));
            host.addCertificate(certificate);
            connector.addSslHostConfig(host);
        }
        tomcat.setConnector(connector);
        tomcat.getEngine().setName(route);
        tomcat.getEngine().setJvmRoute(route);
        tomcat.getHost();
        if (!kind.equals("ajp")) { // AJP says who the client is; by HTTP the header does
            RemoteIpValve valve = new RemoteIpValve();
            valve.setProtocolHeader("X-Forwarded-Proto");
            valve.setPortHeader("X-Forwarded-Port");
            valve.setInternalProxies("127\\.0\\.0\\.1");
            tomcat.getEngine().getPipeline().addValve(valve);
        }
        Context context = tomcat.addContext("/" + route, new File(".").getAbsolutePath());
        Tomcat.addServlet(context, "app", new App());
        context.addServletMappingDecoded("/*", "app");
        tomcat.start();
        return connector.getLocalPort();
    }

    private static final class App extends HttpServlet {
        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String[] path = (request.getPathInfo() == null ? "/" : request.getPathInfo()).split("/");
            switch (path.length > 1 ? path[1] : "") {
                case "session" -> {
                    HttpSession session = request.getSession(true);
                    Integer count = (Integer) session.getAttribute("count");
                    session.setAttribute("count", count == null ? 1 : count + 1);
                    text(response, session.getId() + " " + session.getAttribute("count"));
                }
                case "upload" -> text(response, digest(request.getInputStream()));
                case "download" -> download(request, response);
                case "cached" -> {
                    response.setHeader("ETag", "\"1\"");
                    if ("\"1\"".equals(request.getHeader("If-None-Match"))) {
                        response.setStatus(304);
                    } else {
                        text(response, "new");
                    }
                }
                case "slow" -> {
                    rest(Integer.parseInt(request.getParameter("ms")));
                    text(response, "slow");
                }
                case "events" -> events(response);
                case "broken" -> {
                    response.setContentLength(20000);
                    response.getOutputStream().write(new byte[10000]);
                    response.flushBuffer();
                    throw new IllegalStateException("broken on purpose");
                }
                case "header" -> {
                    response.setHeader("X-Long", "v".repeat(Integer.parseInt(request.getParameter("n"))));
                    text(response, Integer.toString(request.getHeader("X-Long").length()));
                }
                case "cookies" -> {
                    StringBuilder all = new StringBuilder();
                    for (Cookie cookie : request.getCookies()) {
                        all.append(cookie.getName()).append('=').append(cookie.getValue()).append(' ');
                    }
                    response.addCookie(new Cookie("first", "1"));
                    response.addCookie(new Cookie("second", "2"));
                    text(response, all.toString().trim());
                }
                case "status" -> {
                    response.setStatus(Integer.parseInt(path[2]));
                    text(response, path[2]);
                }
                default -> text(response, String.join("\n", request.getMethod(), request.getRequestURI(), String.valueOf(request.getPathInfo()),
                        String.valueOf(request.getQueryString()), request.getScheme() + " " + request.isSecure(), request.getRemoteAddr(),
                        request.getServerName() + " " + request.getServerPort(), String.valueOf(request.getContentLengthLong())));
            }
        }

        private static void download(HttpServletRequest request, HttpServletResponse response) throws IOException {
            int n = Integer.parseInt(request.getParameter("n"));
            if (request.getParameter("length") != null) {
                response.setContentLength(n);
            }
            byte[] block = new byte[10000];
            OutputStream out = response.getOutputStream();
            for (int sent = 0; sent < n; sent += block.length) {
                for (int i = 0; i < block.length; i++) {
                    block[i] = (byte) ((sent + i) % 251);
                }
                out.write(block, 0, Math.min(block.length, n - sent));
            }
        }

        private static void events(HttpServletResponse response) throws IOException {
            response.setContentType("text/event-stream");
            for (int i = 0; i < 5; i++) {
                response.getOutputStream().print("data: " + System.currentTimeMillis() + "\n\n");
                response.flushBuffer();
                rest(60);
            }
        }

        private static void rest(long ms) throws IOException {
            try {
                Thread.sleep(ms);
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
        }

        private static void text(HttpServletResponse response, String text) throws IOException {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            response.setContentType("text/plain;charset=UTF-8");
            response.setContentLength(bytes.length);
            response.getOutputStream().write(bytes);
        }

        private static String digest(InputStream in) throws IOException {
            try {
                MessageDigest sha = MessageDigest.getInstance("SHA-256");
                byte[] block = new byte[8192];
                long length = 0;
                for (int n = in.read(block); n >= 0; n = in.read(block)) {
                    sha.update(block, 0, n);
                    length += n;
                }
                return length + " " + HexFormat.of().formatHex(sha.digest());
            } catch (NoSuchAlgorithmException e) {
                throw new IOException(e);
            }
        }
    }
}
