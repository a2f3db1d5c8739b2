import { bytes, json, resolveCodec, type Codec } from '../codec.ts'
import { QueueError } from '../errors.ts'

/** The codecs of topics, as far as they are known: those that topics were opened with, and those that come with the package. */
export class TopicCodecs {
  readonly #opened = new Map<string, Codec<unknown>>()

  /** A topic was opened with a codec. */
  opened(topic: string, codec: Codec<unknown>): void {
    this.#opened.set(topic, codec)
  }

  /** @throws `INVALID_OPTION` when the topic was not opened, and holds what no codec of this package carries */
  async find(topic: string, contentType: string): Promise<Codec<unknown>> {
    const opened = this.#opened.get(topic)
    if (opened?.contentType === contentType) return opened
    return ownCodecOf(topic, contentType)
  }
}

/** The codec of this package for a topic. @throws `INVALID_OPTION` when there is none */
export async function ownCodecOf(topic: string, contentType: string): Promise<Codec<unknown>> {
  if (contentType === json.contentType) return json
  if (contentType === bytes.contentType) return bytes as Codec<unknown>
  const msgpack = await resolveCodec('msgpack')
  if (contentType === msgpack.contentType) return msgpack
  throw new QueueError('INVALID_OPTION', `topic ${topic} holds ${contentType}: pass its codec`, {
    option: 'codec',
    topic,
    allowed: `the codec of ${contentType}`,
  })
}
