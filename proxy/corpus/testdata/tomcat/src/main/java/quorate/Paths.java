package quorate;

import java.io.File;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;

import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/**
 * One Tomcat with the contexts of its arguments, percent-encoded, "/" for ROOT. Each
 * answers with its own name in X-Context. It prints "listening PORT", and ends when
 * its standard input does.
 */
public final class Paths {
    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("quorate-paths").toString());
        Connector connector = new Connector("HTTP/1.1");
        connector.setPort(0);
        connector.setProperty("address", "127.0.0.1");
        tomcat.setConnector(connector);
        for (String path : args) {
            Context context = tomcat.addContext(
                    path.equals("/") ? "" : URLDecoder.decode(path, StandardCharsets.UTF_8), new File(".").getAbsolutePath());
            Tomcat.addServlet(context, "name", new Name(path));
            context.addServletMappingDecoded("/*", "name");
        }
        tomcat.start();
        System.out.println("listening " + connector.getLocalPort());
        while (System.in.read() >= 0) {
        }
        tomcat.stop();
        System.exit(0);
    }

    private static final class Name extends HttpServlet {
        private final String path;

        Name(String path) {
            this.path = path;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            response.setHeader("X-Context", path);
        }
    }
}
