"""Speech or music in a stream: a recurrent network that hears every frame.

Of each frame of 20 ms it takes the levels of bands up to 8 kHz, relative to the loudest of the last
seconds, how even the spectrum is, and how fast it changes. It hears received samples alone, and
whether a frame follows the last. About 2 microseconds a frame.

References
----------
.. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
   machine translation", EMNLP, 2014: the gated recurrent unit.
"""

import base64
import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel, rounded_part
from plc_kernels.network.functions import log, sigmoid, tanh

BINS = 161
"""Bins of a spectrum, 50 Hz apart: up to 8 kHz."""
# Bands of 100 Hz up to 950 Hz, and wider ones above: the first bin of each, and the end.
_EDGES = np.array(
    [*range(1, 21, 2), 21, 24, 28, 32, 38, 43, 50, 58, 67, 77, 90, 104, 120, 138, 161], np.int64
)
BANDS = _EDGES.size - 1
LEVEL, EVEN, CHANGE, CHANGED, AFRESH = range(BANDS, BANDS + 5)
"""Places behind the bands: level, evenness, change, whether that is known, and whether no frame
stands before this one."""
INPUTS = BANDS + 5
"""Numbers of a frame that the network takes."""
UNITS = 24
MEMORY = 7 * UNITS
"""Numbers of the network's memory: its state, and what it works in."""

# The loudest falls by 1 dB a second, or by half of what lies below it: a bump of the microphone,
# 40 dB above the voice, is forgotten in a second.
_FALL_DB, _FALL_SHARE = 0.02, 0.01
# What is further below the loudest says little; and a frame of less power says nothing.
_LOUD_DB, _LEAST_POWER = 25.0, 1e-11
_FLAT_FROM, _FLAT_TO = 4, 125
_CHANGE_FROM, _CHANGE_TO = 2, 100
CHANGE_BINS = _CHANGE_TO - _CHANGE_FROM
"""Bins whose change is measured."""
APART_FRAMES = 2
"""Frames over which change is measured: 40 ms."""
LOUD, ROW = range(2)
"""Places in the counts: loud frames, and frames in a row."""
PEAK, LOGIT = range(2)
"""Places in the numbers: level of the loudest in dB, and what the network says."""

F = np.float32
WEIGHTS_STEP = F(1.0 / 64.0)
PACKED = (
    b"{q^k#^Y;4<01xH=+W`Ll2mSrz`yBKA2nO^W6Dbz&2mSvA@%S7284v{d3-k954EPBB`T_Lz4EO^K>HH8D2KEH_1rqxE"
    b"68-xY10Ed{4G#GT3<3)P1`hNI@Cy;|2@C7$0QvtH5c%~1{`?B!@ca%6^XLKQ3jzfY2nzM~1`zrE7yJG83<eYl_4W-1"
    b"^bZ0C@G24+4FU=d`0e=o2K4FZ<>&zZ829q&AMpVm75)JA6zc@*_Z<%d{{I2@3;qZR2m=26_!aB}0{#LJ1^oRB{`U3)"
    b"^Y;uJ_Z<-c^9KR<5&{h!==$vj0ul!H8UFG3CHoT${pk_(2Immm5ey6r5d!$||MU3)5)TIk01@~K3GxB@68-`V@%#Y#"
    b"{r3O}1p+Y<1P1s31Pk{9+W`Rx0SE~W5%>Jz^z#l9`~C9-{p$Mc`W6QX_xT6V2l)vE0{iCp1`-4b1^xc;{P_zH0Q&d^"
    b"^!D%){{IjS=>z)_|NQp&;sW#W?hE`66buXI@ADA}3mXm%3j+cS-xUf2_V^0v0s!$5`v>Rv4HXF+{`Cs<5C#+v5&Z}X"
    b">+I|l{Sg!d_y`~p`vn2?`~3#-`VH_5{u>eP;rkr_4HN_d{s$WN_yGv}1m^<%4*K*E_YC_82L<LD01p5D77PLU{{#gQ"
    b"{pR8P2n7fK00{pP0R!{@{^<V({1pNR1^gB0>H8rD2NeSX{|^-K{0S8W9pVbz0_W}!?*RD*|M~nJ`v?RJBMt!q_XYj="
    b"=HTxG1M~$41PuBL01@;J=L`)D2qfzY4EqfA?*S4B`y2rb1QHVH_W}U^E9eT_1<UUQ^b_#^4*nDa`2Y3z4gmxK?HLR9"
    b"{qgYt`u++74Fc{6{{8j(<Om7%{tNa73h_Gl(*6|>=R)8C3nU5a?HURG3iT1$_Spju@&)w&{R;;b`VaOB1@#OD{rUm*"
    b"@BsAs4DuBE`vCLs@%H`)>j(1o@eb(>9vUL?;0O`|2r1?O{U#Uo@&XnI`0onl`TO|><^1^k0tO8Z`4{yB4gUc83JC-C"
    b"<nsXg4hj_n0Qv{}0Pg|y-U{&g@BR836ATjQ)B*ka@+SoX`Ys#>1p5RFBIphJ3<LTL<o)FW0`dF~1|I_e3jGlK0rLX-"
    b"^Y-!i4etsE1`_)9>jeb);`Z_o>JbAE0Q@HK<NXKv1vU2v2rT^T_6->f5AGQH1N8n0{0;s31_%oU2?zBM4*CJ}1PBBK"
    b"_WcD70rL<2`3DgZ@d*_P_yGU|2n6^d7!w}+69^vg01@*80S@jI{SOB31_=V=0r~R@0tEl@3-${I`}hs{2Lby8^9c?2"
    b"@8<^$<N5Ok2mS&Q<^%o$`S|t<`s@Gx2LTxT9qJ_R{s8*{1>)=I2MYB3`TGLr3+({!2nP533lIbi{_GA12nhZ71^@y2"
    b"{`U<7^!*16_z(2*1_JgL0Qdd<{`BVq1pfU68}lCj4Dj0o@YUe<2MX>D0Rafk{{8m!2M_rG4-6C(2lER7{Rsm7^8W$;"
    b"0qqtK_x=<2`U4096A%Oe<Nojg_4MQw_5cS04)7BC2I}4a^vvJs3kvS|?gsbL2I>h35)9-26$<(N3F`v?{RZ_7{|F2E"
    b"3J)3e{Ob$v1p^598vYFz^Y{J|2?^{T1{L`P2m24~1K-*I``_yL3I636@dOd=_4Wt(3kLx90tgKV5cCB0{r~j}1OWg0"
    b"^$HFG_ww@f`2qv{5(5kb^a0}w1_A6K4)GZM3iBZD=?C-U@A3Ek6BpeO=KTWh`w$A}00;^4{09;D2>A;C_yhX;=>-4g"
    b"_VoY!{0<2V0006D_zL#y|Md3+3;7BE`TGw7_6`XE;RXEn0PgPp{Q39!-t!Rb|NH$00`mIx@cH=$2J{68_Xi04`TG0<"
    b"1^);31{3`p1MmF}@&yMA`tJAw_XGLq{PqC#{T}%O=MV1x>InYu2kZg(|NjW=1_lKL`S$Sw`33_9?*Ik>3HAgC1N!y@"
    b"2>|>B1qu8I@$mut^aT9*1o-dv{|f^9^X%;Z0Tl%a-2m$D<Ny)#3G(Ul{Pqq63jYQQ`tkk-{0IC6{r&Y2`v3m>`T+&{"
    b"{RH*`2@CfX?gj|=>l*w60s8sz{RaB?0ptk|022NA-xBfq?Fa$;9rN}04)y*63HA^62l55|{Q>?5^926=|NjH{^!)$y"
    b"2Kxs03;Y5C?e+Wx@)rQ_{^<ns4gmT43-9#^3la?W>;v)n;{ycz_Y4p2^!EYt0R9XG_yGF(3=sJR?*;${0QUv-1_1Z+"
    b"+v)-$2pt+2`y>b?_7wvU1r*}*0`&+79|{Ka_VWV%_TA$VB;EMF_6!UZ>Y@SJF7^%e5BKNs00jpS`2r6H1^Vy*`Oyjh"
    b"1PcZ40ul59{^$hp@A3@p{PhL)=mYo$=jQqe_$3Mc>lqvJ`waOM1pV;o1se<z?gsVw{rnF6-|zkX<p%r)_5Sed0}uHC"
    b"L<BVZLi!;0{TKZI7+hEj;~fqpBOx3oUO4+h6bUE_ArRVB93k%mKodDs`speA;tTvH-2n~Y2@x0D6VC_#7U09{&in!E"
    b"2@e$y2?h}95D6Ii{s;sS2NV<y`THjP@f0EmC?EV99}gAx5e^O{9To2r6&n#J`VR*9^9K^`1NZg<8wUdp>kj(u`3nX6"
    b"_4Wo4^C1Qm`2z?MCGiXY3JdlU02TcW3jg%{4+G}s76k<QAr=b}3ll2!DF)~X2ln~;1N9IP>i7i+{T2BO0s#H`4GahV"
    b";`jLx2mlHo00;*g{2KH2_Yv^)5bN{%@EZm8+Vcqj`|02!7VXyN<`MQj>G}QG9ts5T2Iue%4D0*=4-5<I1rGWP7yKv("
    b"{Sp8H75oD62=NB~3H=QH{uK@Q0{{969upk_4hZuV4-gF-2_X>&{|+7h`w1To^bGhP=KJvS4FT{0`SSew?ga|%1qT2F"
    b"_x23@`w{;K`TYz83GDCj2KVOs2kQRq`3es6@$3i%2?_oQ?gj1u+x7|s;Q<f;1N00A`R(@!5B~B0_W2s_^#t<r10DSf"
    b"1N8{~1pXZ!1pfN?2?YoB@CNq_3lj|X=I!4Y=>+@v_#_A2;|mo9_vPK(3G@Lm`SltB<OB%^3is|0)(;H`0^#WK_XGwR"
    b"@a6IO0S^TB0tW3B0qE};69okH0_)!s{{bf0tp)lk{wW^=5;rLC;uRVeDH8kS7~tag67ll_3*;LK6BykJ>J=dw{_P#+"
    b"{sI#J_xJ+t^$7d_3jG)M0todB2@nbb{rck(3LOOe1R@Ca+7b9EFXq|u{~P@&<_i!9`UfBm^a14o?(h}>`tb7g>HOsq"
    b"^$Q0J-wzN13;6H_{_+|Y4fqiM0|yuc9RCCGGX@R$75yjd6B-B$AsQkR1sVP&{0IyE3;Ffm^aTaq`tkrQ>h2ct@(upm"
    b"{sr+42Ltr_2@wMh1o-~?5D)bW3;+NQ;n?jB8VTRi_95fu@dFJC7t;316ye_t1^ET+{pIxu=I!hV=J@jz@%8-k4DSK?"
    b"4)_862Mq}b@COq1|NZp@0|W^4^b!aT^#K_Y3IOsR=Mnu55(E<=6cj2g2l(Ft1poH;0`CAB6YJ;%2MqE30vrSp2L<-}"
    b"6cGmU_!s{9>GKl&>jE74`sM=o5&Q!F`ULLO_}v=}=MC2i#suf#&+pjn&?ElS`SA}D@edOB9|QIR0^ADZ8VKeC{4Des"
    b"=<fF5`sC^Q1_1pC?ehT%_xcV3{_Oe&0u%}9<Jlqa{p9Ej`QY)%;STTs>HYlC8|m)~01E{A3i}BD{Pz3(1_%ia6Yvf5"
    b"6A}6T{Q~<60RsQ>@(cj}1qk#F^zicm?Hck03>OFQ-}VOj^w{hz5ee!B?)>XA{SOc867D1g=Ij3n`4{T)_z>_36Zii5"
    b"3K9?y9|;8V6de}x8xj)=^$-aI1^)#i`u`Fc6cNxV4Kok*3||x@9^N$eLm1;j`vdX*{OkY^1n>6w5EStU@(L3A01*c7"
    b"^aSVv=k4?E_xtYo_V(co`~Lp%_wexL{^|nqHuoR*=>ibyK*jU*{2cu9`Rw8h`~BwH80{7R_xTA1AQA8e{~84n{{J5L"
    b"{sIyK^85x43-<&20sQ>_1_BBJ`VRX1{}mJt*b4~t`2*e&^$Q68{|gcz@B$G21^fUF_6YU_6YlvE_y!R6^!Nq^{2TEC"
    b"?EVN3^!@+|5BdiL=l1dj3j_h*{Nncn9S{57^XU`w0NfA=0p|GS<QVl4=?4G~E%x*H5%T`?2K@sF2>$mD=@l9q4e2NU"
    b"6&MK!1rZPa|NjXI4EGfM{|oF5_Y3{u+vCm{90T|M>ks?u0|WLU3*pcL@(tw~^9>5_^#c|P;{4(Y=lBcg0r%qj_WJ%6"
    b"6#fnb6Y}--3LqK*9})!+2^kCq5AF*K?*A1H9S+(N2OkXoAT$mmA^ax<9ToK&`Vj>23jXp73h@669sckU@e&I23;G87"
    b"4h{YX5fJ_U6cz#S^Xv2w_5J_^8~p_m>-G}*8yNNg1Rxay5)cD55DEJI5eeub_y*|j6z%^6^Y-%m76a`M^cDyL68#YH"
    b"{uAu=AMpPP`xyNF@e%F<0s!z46xjO^^7-8u@b&xb%lqg8&*<U<^3vV!@DKC_`3C~=5bFIO<>mhg0TA>O01oN<2?G4<"
    b"0rKtz_z3_60{Z(G^bF?#4gdD?2;}Yx@$v2b>ih%M@BjDk=IYb#2>jCB*x%vs5a<E-1pM~}`UDRF1pe*@2=)a16xt`}"
    b"6bAkX0sIN?`~Upx2JH_A4*U5F3K9qd0}A;hAS?Fp4=fT92_8EyC<7oQH}M5N@&*m@1rHAR`{(!s`xyQS?)>`({1ET{"
    b"0Q%_;`|tY>^%4aA_x=A1@&@_*1^@~a>HFaR`vw37{P^_o1mg7$3H|UH0}0{%{R95!0}>Ai0|5L075MM<5D@MD3GovM"
    b"1PuH3{0RmW1q|{T_5uj%2KM&~69WSO<=WjF_7LXr-W?18&+zIG5aHwD>GS*R<@Xx{{Q(6G1P}NV-tq<Y@#_Ec2m#>#"
    b"2Ko{N0~QAV3;_WI1_clm`yKfF3k(Mb0Q(UcH68R694#OMFhedg9Tp%9K@#>W1rr1P4EYrV0s-m-5&``G_6G*{?F$e0"
    b"77-5-1q%xD2@wkS903>_0}~Pb{|yce69E+)DiQ4v5F#k~HZv$Q7a}76J{JKW0u=G>_5lC*1^Mj(1pxyJ@e&O60S^4|"
    b"<OLQO)d~yr`waN{<Mboz2june=OxS)?*"
)
WEIGHTS: NDArray[np.int8] = np.frombuffer(base64.b85decode(PACKED), np.int8)
"""By ``plc train fit content``, in steps: for reset, update, new value side by side a row for each
input, a row for each unit and the biases of either; then the weights and the bias of the logit."""
_BIAS, _OUT = 3 * UNITS * (INPUTS + UNITS), 3 * UNITS * (INPUTS + UNITS + 2)


@kernel
def follow_content(
    powers: NDArray[np.float32],
    numbers: NDArray[np.float64],
    logs: NDArray[np.float32],
    counts: NDArray[np.int64],
    inputs: NDArray[np.float32],
    units: NDArray[np.float32],
) -> None:
    """Learn from the spectrum of one more frame.

    Parameters
    ----------
    powers : float32, shape (n,), n >= :data:`BINS`
        Powers of bins 50 Hz apart; finite, and zero above half of the sample rate.
    numbers : float64, shape (2,), read and written, by :data:`PEAK` and :data:`LOGIT`
    logs : float32, shape (APART_FRAMES + 1, CHANGE_BINS), read and written
        Log spectra of the last frames.
    counts : int64, shape (2,), read and written
        By :data:`LOUD` and :data:`ROW`; zeros before the first frame.
    inputs : float32, shape (INPUTS,), written, what the network takes of this frame
    units : float32, shape (MEMORY,), read and written, state of the network
    """
    total = 0.0
    for k in range(BINS):
        total += powers[k]
    if not total > _LEAST_POWER:
        counts[ROW] = 0
        return
    level = 10.0 * math.log10(total)
    peak = numbers[PEAK]
    if counts[LOUD] == 0:
        peak = level
    peak = max(level, peak - max(_FALL_DB, _FALL_SHARE * (peak - level)))
    numbers[PEAK] = peak
    counts[LOUD] += level > peak - _LOUD_DB
    counts[ROW] += 1
    for band in range(BANDS):
        power = 1e-12
        for k in range(_EDGES[band], _EDGES[band + 1]):
            power += powers[k]
        inputs[band] = F(min(max((10.0 * math.log10(power) - peak + 35.0) / 20.0, -1.5), 2.0))
    known = counts[ROW] > APART_FRAMES
    change = _change(powers, F(1e-10 * total), logs, counts[ROW])
    inputs[LEVEL] = F((max(level - peak, -60.0) + 20.0) / 20.0)
    inputs[EVEN] = F(0.5) * (_flatness(powers, F(1e-10 * total), units[UNITS:]) + F(3.0))
    inputs[CHANGE] = change - F(1.5) if known else F(0.0)
    inputs[CHANGED] = F(1.0) if known else F(0.0)
    inputs[AFRESH] = F(1.0) if counts[ROW] == 1 else F(0.0)
    numbers[LOGIT] = _hear(WEIGHTS, inputs, units)


@rounded_part
def _flatness(
    powers: NDArray[np.float32], least: np.float32, space: NDArray[np.float32]
) -> np.float32:
    """Return the logarithm of the geometric over the arithmetic mean."""
    logs, mean = F(0.0), F(0.0)
    for k in range(_FLAT_FROM, _FLAT_TO):
        space[k - _FLAT_FROM] = log(powers[k] + least)
    for k in range(_FLAT_FROM, _FLAT_TO):
        logs += space[k - _FLAT_FROM]
        mean += powers[k] + least
    count = F(_FLAT_TO - _FLAT_FROM)
    value: np.float32 = logs / count - log(mean / count)
    return value


@rounded_part
def _change(
    powers: NDArray[np.float32], least: np.float32, logs: NDArray[np.float32], row: int
) -> np.float32:
    """Keep the log spectrum; return its distance, without level, from 40 ms earlier."""
    new = logs[row % (APART_FRAMES + 1)]
    old = logs[(row - APART_FRAMES) % (APART_FRAMES + 1)]
    mean = F(0.0)
    for k in range(CHANGE_BINS):  # apart from the sums, so that it is vector code
        new[k] = log(powers[_CHANGE_FROM + k] + least)
    for k in range(CHANGE_BINS):
        mean += new[k] - old[k]
    mean /= F(CHANGE_BINS)
    change = F(0.0)
    for k in range(CHANGE_BINS):
        change += abs(new[k] - old[k] - mean)
    value: np.float32 = change / F(CHANGE_BINS)
    return value


@rounded_part
def _hear(
    weights: NDArray[np.int8], inputs: NDArray[np.float32], units: NDArray[np.float32]
) -> np.float32:
    """Let the network [1]_ hear a frame; return the logit of speech."""
    gates, own = units[UNITS : 4 * UNITS], units[4 * UNITS :]
    for j in range(3 * UNITS):
        gates[j] = WEIGHTS_STEP * F(weights[_BIAS + j])
        own[j] = WEIGHTS_STEP * F(weights[_BIAS + 3 * UNITS + j])
    for k in range(INPUTS):
        x = WEIGHTS_STEP * inputs[k]
        for j in range(3 * UNITS):
            gates[j] += x * F(weights[3 * UNITS * k + j])
    for k in range(UNITS):
        x = WEIGHTS_STEP * units[k]
        for j in range(3 * UNITS):
            own[j] += x * F(weights[3 * UNITS * (INPUTS + k) + j])
    said = F(weights[_OUT + UNITS])
    for j in range(UNITS):
        reset = sigmoid(gates[j] + own[j])
        keep = sigmoid(gates[UNITS + j] + own[UNITS + j])
        new = tanh(gates[2 * UNITS + j] + reset * own[2 * UNITS + j])
        units[j] = new + keep * (units[j] - new)
    for j in range(UNITS):
        said += units[j] * F(weights[_OUT + j])
    value: np.float32 = WEIGHTS_STEP * said
    return value
