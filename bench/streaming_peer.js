// The program that bench/streaming.py compares with our own client: the same work, by node-nats-streaming.
//
//     node streaming_peer.js URL CLUSTER_ID NAME CHANNEL MESSAGES BYTES WINDOW IN_FLIGHT
//
// Publishes to the channel with WINDOW concurrent publishes, then consumes the channel with a durable queue group of its
// name, acknowledging each message. Prints {"publish_s": …, "consume_s": …}. Ends by itself.

'use strict'

const path = require('path')
const { createRequire } = require('module')

const peerServices = createRequire(path.join(__dirname, '..', 'tests', 'e2e', 'peer_services', 'package.json'))
const stan = peerServices('node-nats-streaming')

const [url, clusterId, name, channel, ...numbers] = process.argv.slice(2)
const [messages, bytes, window, inFlight] = numbers.map(Number)

const client = stan.connect(clusterId, name, { url })
const secondsSince = (began) => Number(process.hrtime.bigint() - began) / 1e9

client.on('connect', async () => {
  const publishS = await publish()
  const consumeS = await consume()
  console.log(JSON.stringify({ publish_s: publishS, consume_s: consumeS }))
  client.close()
})
client.on('error', fail)
client.on('connection_lost', fail)
client.on('close', () => process.exit(0))

function publish () {
  const data = 'x'.repeat(bytes)
  const began = process.hrtime.bigint()
  let sent = 0
  let stored = 0
  return new Promise((resolve) => {
    const next = () => {
      if (sent === messages) return
      sent += 1
      client.publish(channel, data, (error) => {
        if (error) fail(error)
        stored += 1
        if (stored === messages) resolve(secondsSince(began))
        next()
      })
    }
    for (let started = 0; started < window; started += 1) next()
  })
}

function consume () {
  const options = client.subscriptionOptions()
    .setDeliverAllAvailable()
    .setManualAckMode(true)
    .setDurableName(name)
    .setMaxInFlight(inFlight)
  const began = process.hrtime.bigint()
  let got = 0
  return new Promise((resolve) => {
    client.subscribe(channel, name, options).on('message', (message) => {
      message.ack()
      got += 1
      if (got === messages) resolve(secondsSince(began))
    })
  })
}

function fail (error) {
  console.error(String(error))
  process.exit(1)
}
