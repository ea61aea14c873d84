package quorate;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;

import jakarta.servlet.ServletException;

import org.apache.catalina.LifecycleState;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.valves.ValveBase;
import org.jboss.modcluster.container.Connector;
import org.jboss.modcluster.container.Context;
import org.jboss.modcluster.container.Engine;
import org.jboss.modcluster.container.Host;
import org.jboss.modcluster.container.Server;
import org.jboss.modcluster.container.listeners.HttpSessionListener;
import org.jboss.modcluster.container.listeners.ServletRequestListener;

/** Shows an embedded Tomcat to the mod_cluster client through its container SPI. */
final class Container implements Server {
    final AppEngine engine;
    private final Map<String, AppContext> contexts = new LinkedHashMap<>();
    private final Tomcat tomcat;

    Container(Tomcat tomcat) {
        this.tomcat = tomcat;
        this.engine = new AppEngine();
    }

    @Override
    public Iterable<Engine> getEngines() {
        return Set.of(engine);
    }

    /** The context of a path ("/" for the root), as the same object each time. */
    synchronized AppContext context(String path) {
        String name = path.equals("/") ? "" : path;
        return contexts.computeIfAbsent(name, n -> {
            org.apache.catalina.Context context = (org.apache.catalina.Context) tomcat.getHost().findChild(n);
            return context == null ? null : new AppContext(context);
        });
    }

    synchronized void forget(String path) {
        contexts.remove(path.equals("/") ? "" : path);
    }

    final class AppEngine implements Engine {
        private final AppHost host = new AppHost(this);
        private final AppConnector connector = new AppConnector();

        @Override public String getName() { return tomcat.getEngine().getName(); }
        @Override public Server getServer() { return Container.this; }
        @Override public Iterable<Host> getHosts() { return Set.of(host); }
        @Override public Connector getProxyConnector() { return connector; }
        @Override public Iterable<Connector> getConnectors() { return Set.of(connector); }
        @Override public String getJvmRoute() { return tomcat.getEngine().getJvmRoute(); }
        @Override public void setJvmRoute(String route) { tomcat.getEngine().setJvmRoute(route); }
        @Override public Host findHost(String name) { return name.equals(host.getName()) ? host : null; }
        @Override public String getSessionCookieName() { return "JSESSIONID"; }
        @Override public String getSessionParameterName() { return "jsessionid"; }
        @Override public String getDefaultHost() { return tomcat.getEngine().getDefaultHost(); }
    }

    final class AppHost implements Host {
        private final Engine engine;

        AppHost(Engine engine) {
            this.engine = engine;
        }

        @Override public String getName() { return tomcat.getHost().getName(); }
        @Override public Engine getEngine() { return engine; }
        @Override public Set<String> getAliases() { return Set.of(getName()); }
        @Override public Context findContext(String path) { return context(path.isEmpty() ? "/" : path); }

        @Override
        public Iterable<Context> getContexts() {
            Set<Context> all = new LinkedHashSet<>();
            for (org.apache.catalina.Container child : tomcat.getHost().findChildren()) {
                all.add(context(child.getName().isEmpty() ? "/" : child.getName()));
            }
            return all;
        }
    }

    final class AppContext implements Context {
        final org.apache.catalina.Context tomcat;
        private final CopyOnWriteArrayList<ServletRequestListener> requests = new CopyOnWriteArrayList<>();

        AppContext(org.apache.catalina.Context context) {
            this.tomcat = context;
            context.getPipeline().addValve(new ValveBase(true) {
                @Override
                public void invoke(org.apache.catalina.connector.Request request, org.apache.catalina.connector.Response response)
                        throws IOException, ServletException {
                    requests.forEach(ServletRequestListener::requestInitialized);
                    try {
                        getNext().invoke(request, response);
                    } finally {
                        requests.forEach(ServletRequestListener::requestDestroyed);
                    }
                }
            });
        }

        @Override public Host getHost() { return engine.host; }
        @Override public String getPath() { return tomcat.getPath(); }
        @Override public boolean isStarted() { return tomcat.getState() == LifecycleState.STARTED; }
        @Override public void addRequestListener(ServletRequestListener l) { requests.add(l); }
        @Override public void removeRequestListener(ServletRequestListener l) { requests.remove(l); }
        // Sessions are not drained here: the client asks for their number only when it waits for them to end.
        @Override public void addSessionListener(HttpSessionListener l) { }
        @Override public void removeSessionListener(HttpSessionListener l) { }
        @Override public int getActiveSessionCount() { return 0; }
        @Override public boolean isDistributable() { return true; }
    }

    private final class AppConnector implements Connector {
        @Override public boolean isReverse() { return false; }
        @Override public Type getType() { return Type.HTTP; }
        @Override public int getPort() { return tomcat.getConnector().getLocalPort(); }
        @Override public boolean isAvailable() { return tomcat.getConnector().getState() == LifecycleState.STARTED; }
        @Override public int getMaxThreads() { return 0; }
        @Override public int getBusyThreads() { return 0; }
        @Override public long getBytesSent() { return 0; }
        @Override public long getBytesReceived() { return 0; }
        @Override public long getRequestCount() { return 0; }
        @Override public void setAddress(InetAddress address) { }

        @Override
        public InetAddress getAddress() {
            try {
                return InetAddress.getByName("127.0.0.1");
            } catch (UnknownHostException e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
