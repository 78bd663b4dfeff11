// A peer service, written as the platform's services are: node-nats-streaming, durable queue groups, manual acks.
//
//     node peer_service.js URL CLUSTER_ID CLIENT_ID QUEUE_GROUP [SUBJECT ...]
//
// Commands come on stdin, one JSON object a line: {"publish": subject, "data": text}. Events go to stdout, one
// JSON object a line: {"ready": true}, {"published": subject, "error"?: text}, {"got": subject, "data": text,
// "sequence": number, "redelivered": bool, "time": when it was stored}, {"lost": reason}. When stdin ends it closes its session and exits.

'use strict'

const readline = require('readline')
const stan = require('node-nats-streaming')

const [url, clusterId, clientId, group, ...subjects] = process.argv.slice(2)
const ACK_WAIT_MS = 5000

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

const client = stan.connect(clusterId, clientId, { url })

client.on('connect', () => {
  let waiting = subjects.length
  const oneMore = () => { if (waiting-- <= 0) say({ ready: true }) }
  subjects.forEach((subject) => listen(subject).on('ready', oneMore))
  oneMore()
  readline.createInterface({ input: process.stdin }).on('line', obey).on('close', () => client.close())
})
client.on('error', (error) => { say({ lost: String(error) }); process.exit(1) })
client.on('connection_lost', (error) => { say({ lost: String(error) }); process.exit(1) })
client.on('close', () => process.exit(0))

function listen (subject) {
  const options = client.subscriptionOptions()
    .setDeliverAllAvailable()
    .setManualAckMode(true)
    .setAckWait(ACK_WAIT_MS)
    .setDurableName(group)
  return client.subscribe(subject, group, options).on('message', (message) => {
    say({
      got: subject,
      data: message.getData(),
      sequence: message.getSequence(),
      redelivered: message.isRedelivered(),
      time: message.getTimestampRaw()
    })
    message.ack()
  })
}

function obey (line) {
  const { publish, data } = JSON.parse(line)
  client.publish(publish, data, (error) => {
    say(error ? { published: publish, error: String(error) } : { published: publish })
  })
}
