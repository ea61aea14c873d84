<%@ page contentType="text/plain" session="true" trimDirectiveWhitespaces="true" %>
<%
    // Says what the Tomcat worker says at /session and, with ms, what it says at /slow.
    response.setHeader("X-Worker", System.getProperty("jboss.node.name"));
    if (request.getParameter("ms") != null) {
        Thread.sleep(Long.parseLong(request.getParameter("ms")));
        out.println("slow");
        return;
    }
    Integer count = (Integer) session.getAttribute("count");
    session.setAttribute("count", count == null ? 1 : count + 1);
    out.println("session " + session.getId() + " count " + session.getAttribute("count"));
%>
