// A gateway as a real HTTP server on this machine, which fails on demand.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export class Gateway {
  /** Each request that was read: its parsed body, headers, and when it came. */
  requests = [];
  /** All events that were read, whatever was answered, in order. */
  events = [];
  /** How the next requests are met, one each; then `take`. */
  next = [];
  /** How all others are met. */
  usually = take;

  #server;
  #port = 0;

  static async started() {
    const gateway = new Gateway();
    await gateway.start();
    return gateway;
  }

  async start() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    await new Promise((done) => this.#server.listen(this.#port, "127.0.0.1", done));
    this.#port = this.#server.address().port;
  }

  /** Away: connections are cut and new ones refused, until `start`. */
  async stop() {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The types of events by arrival. */
  get types() {
    return this.events.map((event) => event.type);
  }

  /** The types of events, each messageId once. */
  get distinct() {
    return [...new Map(this.events.map((event) => [event.messageId, event.type])).values()];
  }

  async #serve(request, response) {
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
    await (this.next.shift() ?? this.usually)(response, body, this);
  }
}

/** Take all events and say so, as ingest does. */
export function take(response, body, gateway) {
  gateway.events.push(...body.events);
  const events = body.events.map(() => ({ success: true, event: { guid: "evt_" } }));
  json(response, 200, { success: true, accepted: events.length, rejected: 0, events });
}

/** Refuse the request. */
export const refuse =
  (status, headers = {}) =>
  (response) =>
    json(response, status, { code: "c", message: `because ${status}` }, headers);

/** Read all and say nothing: the client cannot know that it arrived. */
export function takeAndCut(response, body, gateway) {
  gateway.events.push(...body.events);
  response.destroy();
}

/** Take nothing and say 200, as the login page of a hotel's network does. */
export const strangers200 = (response) => {
  response.writeHead(200, { "content-type": "text/html" }).end("<html>Welcome!</html>");
};

/** Take all and answer late. */
export const slowly = (ms) => async (response, body, gateway) => {
  gateway.events.push(...body.events);
  await sleep(ms, undefined, { ref: false });
  const events = body.events.map(() => ({ success: true }));
  if (!response.destroyed) json(response, 200, { events });
};

/** Take events but those of a type, which are refused one by one. */
export const takeAllBut = (type) => (response, body, gateway) => {
  gateway.events.push(...body.events.filter((event) => event.type !== type));
  const events = body.events.map((event) =>
    event.type === type ? { success: false, message: `no ${type}` } : { success: true },
  );
  json(response, 200, { success: false, events });
};

/** Refuse each request with an event of a type, and take the others. */
export const stumbleOver = (status, type) => (response, body, gateway) =>
  (body.events.some((event) => event.type === type) ? refuse(status) : take)(
    response,
    body,
    gateway,
  );

function json(response, status, body, headers = {}) {
  response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify(body));
}
