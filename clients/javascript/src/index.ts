export { init } from "./client";
export type { AnyEvents, Client, Data, Fields, Options, Store, TrackEvent } from "./types";
