"""Answers of services that come after the callback has returned."""


class Later:
    """What a service's callback returns while it has no answer yet; see `Endpoints.service`.

    rclpy would have the callback be a coroutine for that, which the EventsExecutor does not run. All of it belongs to
    the thread of the callbacks.
    """

    def __init__(self):
        self._send, self._response = None, None

    def answer(self, response) -> None:
        """Send the response, now or as soon as it is known where to."""
        if self._send is None:
            self._response = response
        else:
            self._send(response)

    def bind(self, send) -> None:
        """Where answers go: `send(response)`."""
        self._send = send
        if self._response is not None:
            send(self._response)


def answer_later(service) -> None:
    """Let an rclpy service's callback return a Later."""
    send = service.send_response

    def send_or_keep(response, header) -> None:
        if isinstance(response, Later):
            response.bind(lambda answer: send(answer, header))
        else:
            send(response, header)

    service.send_response = send_or_keep
