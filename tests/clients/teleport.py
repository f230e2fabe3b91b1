"""What Teleport does to reach an instance, call by call, with other libraries than its own: botocore's signer, paramiko.

Teleport asks for the endpoint of the instance's network, pushes a fresh ed25519 key (its line ends with a newline), opens
the tunnel with a presigned URL without X-Amz-Expires, the instance's host name as address, for an hour, and speaks SSH in it.

    python teleport.py INSTANCE USER COMMAND

Prints what the command printed; on stderr the presigned URL.
"""

import io
import os
import socket
import sys
import threading
from urllib.parse import urlencode

import botocore.auth
import botocore.awsrequest
import botocore.session
import paramiko
import websocket
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def presigned(session, host, parameters):
    """The URL of a tunnel, signed as Go's v4.PresignHTTP does: no X-Amz-Expires, an empty body, the host header only."""
    credentials = session.get_credentials().get_frozen_credentials()
    signer = botocore.auth.SigV4Auth(credentials, "ec2-instance-connect", session.get_config_variable("region"))
    request = botocore.awsrequest.AWSRequest("GET", headers={"host": host})
    request.context["timestamp"] = botocore.auth.get_current_datetime().strftime(botocore.auth.SIGV4_TIMESTAMP)
    query = {
        **parameters,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": signer.scope(request),
        "X-Amz-Date": request.context["timestamp"],
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token:
        query["X-Amz-Security-Token"] = credentials.token
    request.url = f"https://{host}/openTunnel?" + urlencode(sorted(query.items()))
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return request.url.replace("https:", "wss:", 1) + "&X-Amz-Signature=" + signature


def tunnel(url):
    """A socket whose other end is the WebSocket's binary frames."""
    frames = websocket.create_connection(url, sslopt={"ca_certs": os.environ["SSL_CERT_FILE"]}, timeout=30)
    near, far = socket.socketpair()

    def outwards():
        while data := far.recv(32768):
            frames.send_binary(data)
        frames.close()

    def inwards():
        try:
            while True:
                opcode, data = frames.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    break
                far.sendall(data)
        except (OSError, websocket.WebSocketException):
            pass  # paramiko sees the end, and tells what it was in
        far.close()

    for carry in outwards, inwards:
        threading.Thread(target=carry, daemon=True).start()
    return near


def main(instance, user, command):
    session = botocore.session.get_session()
    ec2 = session.create_client("ec2")
    described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    filters = [{"Name": "vpc-id", "Values": [described["VpcId"]]}, {"Name": "state", "Values": ["create-complete"]}]
    endpoint = ec2.describe_instance_connect_endpoints(Filters=filters)["InstanceConnectEndpoints"][0]

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    line = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    session.create_client("ec2-instance-connect").send_ssh_public_key(
        InstanceId=instance, InstanceOSUser=user, SSHPublicKey=line.decode() + "\n"
    )

    parameters = {
        "instanceConnectEndpointId": endpoint["InstanceConnectEndpointId"],
        "maxTunnelDuration": "3600",
        "privateIpAddress": described["PrivateDnsName"],
        "remotePort": "22",
    }
    url = presigned(session, endpoint["DnsName"], parameters)
    print(url, file=sys.stderr)

    transport = paramiko.Transport(tunnel(url))
    try:
        transport.start_client(timeout=20)
        with open("/etc/ssh/eic_lab_host_key.pub") as file:
            assert transport.get_remote_server_key().get_base64() == file.read().split()[1], "another host key"
        transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode())))
        channel = transport.open_session(timeout=20)
        channel.exec_command(command)
        print(channel.makefile().read().decode(), end="")
        return channel.recv_exit_status()
    finally:
        transport.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
