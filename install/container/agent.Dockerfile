# The Fairlead agent as an image, of its executable and whatever image of Linux you take, which needs a shell, glibc 2.28 or
# newer, libstdc++ and libatomic. In the folder that has the executable, agent-files/linux/x64 of an archive:
#   docker build -f …/agent.Dockerfile --build-arg BASE=IMAGE -t fairlead-agent .
# The host's identity is in /etc/fairlead-agent. Docker's socket is mounted, and its group given by --group-add.
ARG BASE
FROM ${BASE}
RUN mkdir -p -m 0700 /etc/fairlead-agent && chown 10443:10443 /etc/fairlead-agent
COPY fairlead-agent /usr/local/bin/fairlead-agent
USER 10443:10443
VOLUME /etc/fairlead-agent
ENTRYPOINT ["/usr/local/bin/fairlead-agent"]
CMD ["run"]
