// An ingest server for tests: a real HTTP server on this machine that fails as a test says.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export class FakeIngest {
  /** Requests that were read: parsed body, headers, and time of arrival. */
  requests = [];
  /** All events that were read, whatever the response was, in order. */
  events = [];
  /** Behaviors for the next requests, one each. */
  next = [];
  /** The behavior for all other requests. */
  behavior = accept;

  #server;
  #port = 0;

  static async started() {
    const server = new FakeIngest();
    await server.start();
    return server;
  }

  /** Listen; after `stop`, on the same port again. */
  async start() {
    this.#server = createServer((request, response) => void this.#handle(request, response));
    await new Promise((done) => this.#server.listen(this.#port, "127.0.0.1", done));
    this.#port = this.#server.address().port;
  }

  /** Close all connections, and refuse new ones until `start`. */
  async stop() {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The types of all events, in order. */
  get types() {
    return this.events.map((event) => event.type);
  }

  /** The types of the events, each messageId once. */
  get distinctTypes() {
    return [...new Map(this.events.map((event) => [event.messageId, event.type])).values()];
  }

  async #handle(request, response) {
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk;
    const body = JSON.parse(text);
    this.requests.push({
      path: request.url,
      headers: request.headers,
      body,
      bytes: Buffer.byteLength(text),
      at: Date.now(),
    });
    await (this.next.shift() ?? this.behavior)(response, body, this);
  }
}

/** Accept all events, as ingest does. */
export function accept(response, body, server) {
  server.events.push(...body.events);
  const events = body.events.map(() => ({ success: true, event: { guid: "evt_" } }));
  respond(response, 200, { success: true, accepted: events.length, rejected: 0, events });
}

/** Refuse the request. */
export const refuse =
  (status, headers = {}) =>
  (response) =>
    respond(response, status, { code: "c", message: `because ${status}` }, headers);

/** Accept all events and disconnect: the client cannot know that they arrived. */
export function acceptAndDisconnect(response, body, server) {
  server.events.push(...body.events);
  response.destroy();
}

/** Accept nothing and respond with 200 and HTML, as a captive portal does. */
export const captivePortal = (response) => {
  response.writeHead(200, { "content-type": "text/html" }).end("<html>Welcome!</html>");
};

/** Accept all events and respond late. */
export const acceptAfter = (ms) => async (response, body, server) => {
  server.events.push(...body.events);
  await sleep(ms, undefined, { ref: false });
  const events = body.events.map(() => ({ success: true }));
  if (!response.destroyed) respond(response, 200, { events });
};

/** Accept the events except those of one type, which are refused one by one. */
export const acceptAllBut = (type) => (response, body, server) => {
  server.events.push(...body.events.filter((event) => event.type !== type));
  const events = body.events.map((event) =>
    event.type === type ? { success: false, message: `no ${type}` } : { success: true },
  );
  respond(response, 200, { success: false, events });
};

/** Refuse each request that has an event of one type, and accept the others. */
export const refuseRequestsWith = (status, type) => (response, body, server) =>
  (body.events.some((event) => event.type === type) ? refuse(status) : accept)(
    response,
    body,
    server,
  );

export function respond(response, status, body, headers = {}) {
  response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify(body));
}
